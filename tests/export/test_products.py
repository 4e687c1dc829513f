"""Which convolutions become products of matrices: those of codes that write the outputs."""

import dataclasses

import numpy as np
import pytest

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Flatten,
    Graph,
    Layer,
    Pads,
    Transpose,
)
from mobileyolact.export.products import find_products
from mobileyolact.export.quantized import Codes, QuantizedLayers, integer_kernel


def conv(name: str, source: str, kernel: int = 1) -> Conv:
    side = kernel // 2
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=np.ones((3, 3, kernel, kernel), np.float32),
        bias=np.zeros(3, np.float32),
        pads=Pads(side, side, side, side),
    )


def joined(*convs: Conv) -> list[Layer]:
    """What makes rows of ``convs``, as the head does."""
    flat = [
        Flatten(name=f"{x.name}.flat", inputs=x.outputs, outputs=(f"{x.name}.flat",)) for x in convs
    ]
    names = tuple(x.name for x in flat)
    together = Concat(name="together", inputs=names, outputs=("together",), axis=1)
    turned = Transpose(name="rows", inputs=("together",), outputs=("rows",))
    return [*convs, *flat, together, turned]


def coded(*names: str) -> QuantizedLayers:
    codes = Codes(0.1, 0)
    kernels = dict.fromkeys(("a", "b", "mask"), integer_kernel(A, codes))
    return QuantizedLayers(
        dict.fromkeys(names, codes), {}, Quantization("full", "ptq"), stored=kernels
    )


A, B = conv("a", "image"), conv("b", "image")


def test_rows_of_several_levels_and_a_map() -> None:
    mask = conv("mask", "image")
    graph = Graph((*joined(A, B), mask), (3, 8, 8), ("rows", "mask"))
    found = find_products(graph, coded("image"))
    assert found.results == {"rows": (A, B), "mask": (mask,)}
    assert found.inside == {"a", "b", "a.flat", "b.flat", "together"}


def test_rows_of_one_level() -> None:
    flat = Flatten(name="flat", inputs=("a",), outputs=("flat",))
    rows = Transpose(name="rows", inputs=("flat",), outputs=("rows",))
    graph = Graph((A, flat, rows), (3, 8, 8), ("rows",))
    found = find_products(graph, coded("image"))
    assert found.results == {"rows": (A,)}
    assert found.inside == {"a", "flat"}


@pytest.mark.parametrize(
    "other",
    [
        conv("b", "image", 3),
        dataclasses.replace(B, stride=2),
        dataclasses.replace(B, groups=3, weight=np.ones((3, 1, 1, 1), np.float32)),
        dataclasses.replace(B, activation=Activation("relu")),
    ],
    ids=["3x3", "stride", "groups", "activation"],
)
def test_all_levels_or_none(other: Conv) -> None:
    graph = Graph((*joined(A, other),), (3, 8, 8), ("rows",))
    found = find_products(graph, coded("image"))
    assert not found.results and not found.inside


def test_not_of_floats_nor_to_codes_nor_without_a_kernel_of_8_bits() -> None:
    graph = Graph((A,), (3, 8, 8), ("a",))
    assert not find_products(graph, dataclasses.replace(coded("image"), stored={})).results
    assert not find_products(graph, coded()).results
    assert not find_products(graph, coded("image", "a")).results


def test_not_where_somebody_else_reads_the_map() -> None:
    total = Add(name="total", inputs=("a", "b"), outputs=("total",))
    graph = Graph((*joined(A, B), total), (3, 8, 8), ("rows", "total"))
    assert not find_products(graph, coded("image")).results
