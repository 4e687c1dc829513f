"""Which convolutions become integer ones."""

from dataclasses import replace

import numpy as np
import pytest

from mobileyolact.errors import OptionError
from mobileyolact.export.graph import Add, Concat, Conv, Flatten, Graph, Layer, MaxPool, Transpose
from mobileyolact.quantize.scope import behind_the_first, choose_convs


def conv(name: str, source: str, inputs: int = 4) -> Conv:
    weight = np.ones((4, inputs, 1, 1), np.float32)
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=weight,
        bias=np.zeros(4, np.float32),
        groups=1 if source == "image" else 4 // inputs,
    )


def plain(kind: type[Layer], name: str, *inputs: str, **more: object) -> Layer:
    return kind(name=name, inputs=inputs, outputs=(name,), **more)


GRAPH = Graph(
    (
        conv("backbone.stem", "image", 3),
        plain(MaxPool, "pool", "backbone.stem", kernel=1, stride=1, padding=0),
        conv("backbone.thin", "backbone.stem", 1),
        conv("backbone.wide", "backbone.stem"),
        conv("backbone.left", "pool", 1),
        conv("backbone.right", "pool"),
        conv("backbone.deep", "backbone.left"),
        plain(Add, "sum", "backbone.deep", "backbone.right"),
        plain(Add, "short", "backbone.deep", "pool"),
        conv("neck.near", "short"),
        conv("neck.far", "sum"),
        conv("head.a", "neck.far"),
        conv("head.b", "neck.near"),
        conv("head.scores", "head.a"),
        conv("head.boxes", "head.b"),
        plain(Concat, "rows", "head.scores", "head.boxes", axis=0),
        plain(Flatten, "flat", "rows"),
        plain(Transpose, "out", "flat"),
    ),
    (3, 8, 8),
    ("out", "head.b"),
)


# Of depthwise ones that reads the stem alone is left out, what is behind a pool is not.
BACKBONE = {"backbone.wide", "backbone.left", "backbone.right", "backbone.deep"}


def test_prototypes_are_integers_though_they_are_an_output() -> None:
    out = replace(conv("prototypes.out", "neck.far"), outputs=("prototypes",))
    graph = replace(GRAPH, layers=(*GRAPH.layers, out), outputs=(*GRAPH.outputs, "prototypes"))
    assert choose_convs(graph, "full") == choose_convs(GRAPH, "full") | {"prototypes.out"}
    assert choose_convs(graph, "backbone") == choose_convs(GRAPH, "backbone")


def test_full_leaves_out_what_is_near_the_picture_and_what_writes_outputs() -> None:
    assert choose_convs(GRAPH, "full") == {*BACKBONE, "neck.near", "neck.far", "head.a"}


def test_backbone_is_that_part_of_it() -> None:
    assert choose_convs(GRAPH, "backbone") == BACKBONE


def test_more_of_them_can_be_left_out() -> None:
    kept = choose_convs(GRAPH, "full", ["head.a", "backbone.stem"])
    assert kept == {*BACKBONE, "neck.near", "neck.far"}
    with pytest.raises(
        OptionError, match=r"no convolution 'head\.c'; the nearest one is 'head\.[ab]'"
    ):
        choose_convs(GRAPH, "full", ["head.c"])


def test_what_reads_the_first_one_as_it_is_or_pooled() -> None:
    readers = ["backbone.thin", "backbone.wide", "backbone.left", "backbone.right"]
    assert behind_the_first(GRAPH) == readers
