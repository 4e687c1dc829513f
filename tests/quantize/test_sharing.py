"""Which tensors are codes, and which share a step, on graphs made by hand."""

from collections.abc import Collection

import numpy as np

from mobileyolact.export.graph import (
    Add,
    Concat,
    Conv,
    Flatten,
    Graph,
    Layer,
    MaxPool,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
)
from mobileyolact.quantize.sharing import shared_steps


def conv(name: str, source: str, inputs: int = 4) -> Conv:
    weight = np.ones((4, inputs, 1, 1), np.float32)
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=weight,
        bias=np.zeros(4, np.float32),
    )


def plain(kind: type[Layer], name: str, *inputs: str, **more: object) -> Layer:
    return kind(name=name, inputs=inputs, outputs=(name,), **more)


def groups(layers: Collection[Layer], convs: Collection[str]) -> set[str]:
    """The groups of tensors, each as its names in order, after a convolution "x" of the picture."""
    last = list(layers)[-1].outputs
    found = shared_steps(Graph((conv("x", "image", 3), *layers), (3, 4, 4), last), convs)
    assert len(set().union(*found)) == sum(map(len, found)), "disjoint"
    return {" ".join(sorted(group)) for group in found}


def split(source: str) -> Split:
    return Split(name="split", inputs=(source,), outputs=("left", "right"))


def test_what_is_moved_shares_a_step() -> None:
    layers = [
        conv("a", "x"),
        split("a"),
        conv("b", "right", 2),
        plain(Concat, "both", "left", "b", axis=0),
        plain(Shuffle, "mixed", "both", groups=2),
        plain(MaxPool, "pool", "mixed", kernel=1, stride=1, padding=0),
        plain(Flatten, "flat", "pool"),
    ]
    assert groups(layers, "ab") == {"x", "a b both flat left mixed pool right"}


def test_a_sum_has_a_step_of_its_own() -> None:
    layers = [conv("a", "x"), conv("b", "a"), plain(Add, "sum", "a", "b"), conv("c", "sum")]
    assert groups(layers, "abc") == {"x", "a", "b", "sum", "c"}
    assert groups(layers, "ab") == {"x", "a", "b", "sum"}, "a sum of codes is one, whoever reads it"
    assert groups(layers, "ac") == {"x", "a", "sum", "c"}, "b is float, and the sum is needed"
    assert groups(layers, "a") == {"x", "a"}


def test_float_inputs_do_not_make_codes_of_what_nobody_needs() -> None:
    layers = [conv("a", "x"), conv("b", "x"), plain(Concat, "both", "a", "b", axis=0)]
    assert groups(layers, "a") == {"x", "a"}
    assert groups([*layers, conv("c", "both", 8)], "ac") == {"x", "a both", "c"}
    layers = [split("x"), conv("a", "right", 2), plain(Add, "sum", "left", "left")]
    assert groups(layers, "a") == {"right", "a"}


def test_a_bilinear_resize_gives_codes_only_to_those_that_read_codes() -> None:
    large = plain(Resize, "large", "a", mode="bilinear", scale=2)
    assert groups([conv("a", "x"), large], "a") == {"x", "a"}
    assert groups([conv("a", "x"), large, conv("b", "large")], "a") == {"x", "a"}
    assert groups([conv("a", "x"), large, conv("b", "large")], "ab") == {"x", "a large", "b"}
    near = plain(Resize, "near", "a", mode="nearest", scale=2)
    assert groups([conv("a", "x"), near], "a") == {"x", "a near"}


def test_of_two_bilinear_resizes_in_a_row_both_are_read_or_none() -> None:
    layers = [
        conv("a", "x"),
        plain(ResizeTo, "first", "a", size=(5, 7)),
        plain(ResizeTo, "second", "first", size=(8, 8)),
    ]
    assert groups(layers, "a") == {"x", "a"}
    assert groups([*layers, conv("b", "second")], "ab") == {"x", "a first second", "b"}
