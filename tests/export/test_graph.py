import dataclasses

import numpy as np
import pytest

from mobileyolact.errors import ModelError
from mobileyolact.export.graph import (
    Add,
    Concat,
    Conv,
    Flatten,
    Graph,
    Layer,
    MaxPool,
    Pads,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
    Transpose,
    Ungroup,
)


def conv(name: str, source: str, shape: tuple[int, int, int, int], **fields: object) -> Conv:
    weight = np.zeros(shape, np.float32)
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=weight,
        bias=np.zeros(shape[0], np.float32),
        **fields,  # type: ignore[arg-type]
    )


def chain(size: tuple[int, int] = (16, 24)) -> tuple[Layer, ...]:
    """Every kind of layer once, on an input of ``size``."""
    return (
        conv("stem", "image", (8, 3, 3, 3), stride=2, pads=Pads(0, 1, 0, 1)),
        MaxPool(name="pool", inputs=("stem",), outputs=("pool",), kernel=3, stride=2, padding=1),
        Split(name="split", inputs=("pool",), outputs=("left", "right")),
        conv("dw", "right", (4, 1, 3, 3), groups=4, pads=Pads(1, 1, 1, 1)),
        Concat(name="joined", inputs=("left", "dw"), outputs=("joined",), axis=0),
        Shuffle(name="shuffled", inputs=("joined",), outputs=("shuffled",), groups=2),
        Resize(name="up", inputs=("shuffled",), outputs=("up",), mode="bilinear", scale=2),
        Add(name="sum", inputs=("up", "stem"), outputs=("sum",)),
        ResizeTo(name="odd", inputs=("sum",), outputs=("odd",), size=(7, 5)),
        Flatten(name="flat", inputs=("odd",), outputs=("flat",)),
        Transpose(name="rows", inputs=("flat",), outputs=("rows",)),
        Ungroup(name="anchors", inputs=("rows",), outputs=("anchors",), values=4),
    )


def test_shapes_of_every_layer() -> None:
    graph = Graph(chain(), (3, 16, 24), ("anchors",))
    assert dict(graph.shapes) == {
        "image": (3, 16, 24),
        "stem": (8, 8, 12),
        "pool": (8, 4, 6),
        "left": (4, 4, 6),
        "right": (4, 4, 6),
        "dw": (4, 4, 6),
        "joined": (8, 4, 6),
        "shuffled": (8, 4, 6),
        "up": (8, 8, 12),
        "sum": (8, 8, 12),
        "odd": (8, 7, 5),
        "flat": (8, 35),
        "rows": (35, 8),
        "anchors": (70, 4),
    }


def test_macs_count_convolutions_below_a_prefix() -> None:
    graph = Graph(chain(), (3, 16, 24), ("rows",))
    stem, depthwise = 8 * 3 * 9 * 8 * 12, 4 * 9 * 4 * 6
    assert graph.macs() == stem + depthwise
    assert graph.macs("dw") == depthwise


def test_readers_count_every_use() -> None:
    readers = Graph(chain(), (3, 16, 24), ("anchors",)).readers
    assert (readers["image"], readers["stem"], readers["anchors"]) == (1, 2, 0)


def test_an_input_size_that_does_not_fit_names_layer_and_remedy() -> None:
    with pytest.raises(ModelError, match=r"'sum'.*24x18 pixels.*multiple of 32"):
        Graph(chain(), (3, 18, 24), ("rows",))


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (1, {"inputs": ("nothing",)}, "'pool' reads 'nothing' before it is written"),
        (1, {"outputs": ("stem",)}, "'pool' writes 'stem' a second time"),
        (2, {"outputs": ("left", "right", "third")}, "cannot cut 8 channels into 3"),
        (2, {"sizes": (3, 4)}, r"cannot cut 8 channels into parts of \(3, 4\)"),
        (2, {"sizes": (8,)}, r"cannot cut 8 channels into parts of \(8,\)"),
        (3, {"groups": 2}, "expects 2 channels, got 4"),
        (4, {"inputs": ("left", "stem")}, "cannot join"),
        (5, {"groups": 3}, "cannot shuffle 8 channels in 3 groups"),
        (-1, {"values": 3}, "cannot cut rows of 8 into groups of 3"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(
    index: int, change: dict[str, object], message: str
) -> None:
    layers = list(chain())
    layers[index] = dataclasses.replace(layers[index], **change)
    with pytest.raises(ModelError, match=message):
        Graph(tuple(layers), (3, 16, 24), ("rows",))


def test_an_output_that_nothing_writes_is_refused() -> None:
    with pytest.raises(ModelError, match="no layer writes the output 'masks'"):
        Graph(chain(), (3, 16, 24), ("masks",))
