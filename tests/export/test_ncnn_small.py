"""Small files of ncnn: palettes of 256 numbers, and what ncnn makes of them."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ModelContract
from mobileyolact.export import ncnn_small  # noqa: F401
from mobileyolact.export.formats import SMALL_EXPORTERS
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.ncnn import FLOAT16_TAG, write_ncnn
from mobileyolact.export.ncnn_small import choose_palette, nearest_colours
from mobileyolact.export.trace import build_graph

EXPORTER = SMALL_EXPORTERS["ncnn"]


def conv(name: str, source: str, *shape: int) -> Conv:
    rng = np.random.default_rng(sum(shape))
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=rng.normal(size=shape).astype(np.float32),
        bias=rng.normal(size=shape[0]).astype(np.float32),
    )


def with_palettes(graph: Graph) -> Graph:
    """The graph whose large kernels are what the small file holds."""

    def rounded(layer: Any) -> Any:
        if not isinstance(layer, Conv) or layer.weight.size <= 2048:
            return layer
        palette = choose_palette(layer.weight)
        return dataclasses.replace(layer, weight=palette[nearest_colours(layer.weight, palette)])

    return Graph(tuple(map(rounded, graph.layers)), graph.input_shape, graph.outputs)


def test_a_palette_is_nearly_the_best_there_is(decibels: Any) -> None:
    values = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    palette = choose_palette(values)
    indices = nearest_colours(values, palette)
    # The best for a normal distribution leaves sqrt(3) pi / 2 / 256**2 of the variance: 43.8 dB.
    assert decibels(values, palette[indices]) > 43.8
    assert np.array_equal(palette, choose_palette(values.T[::-1])), "the order does not matter"
    assert (np.diff(palette) >= 0).all()
    some = values[:5, :5]
    distances = np.abs(some[..., None].astype(np.float64) - palette)
    assert np.array_equal(nearest_colours(some, palette), distances.argmin(-1))


@pytest.mark.parametrize(
    "values",
    [
        np.full(3000, 0.7),
        np.repeat([-1.0, 0.0, 2.0], 1000),
        np.concatenate([np.random.default_rng(0).normal(size=4000), [1e4, -3e5]]),
    ],
    ids=["one value", "three values", "values far from all others"],
)
def test_no_value_is_lost(values: Any) -> None:
    values = values.astype(np.float32)
    palette = choose_palette(values)
    kept = palette[nearest_colours(values, palette)]
    assert np.abs(kept - values)[np.abs(values) > 100].max(initial=0) < 1
    assert np.abs(kept - values).max() <= np.ptp(values) / 255


def test_every_byte_of_a_palette_and_of_what_is_small(
    tmp_path: Path, make_contract: Callable[..., ModelContract]
) -> None:
    large, small = conv("y", "image", 683, 3, 1, 1), conv("z", "y", 2, 683, 1, 1)
    files = EXPORTER.files(tmp_path, "net")
    graph = Graph((large, small), (3, 4, 4), ("z",))
    EXPORTER.write(graph, make_contract(), files[0])
    assert sorted(tmp_path.iterdir()) == sorted(files)
    palette = choose_palette(large.weight)
    indices = nearest_colours(large.weight, palette).tobytes()
    assert len(indices) == 2049
    assert files[1].read_bytes() == b"".join(
        [
            struct.pack("<I", 1) + palette.tobytes() + indices + bytes(3),
            large.bias.tobytes(),
            struct.pack("<I", FLOAT16_TAG) + small.weight.astype("<f2").tobytes(),
            small.bias.tobytes(),
        ]
    )


def test_ncnn_computes_with_the_numbers_of_the_palette(
    tmp_path: Path, run: Any, decibels: Any, make_contract: Callable[..., ModelContract]
) -> None:
    graph = Graph(
        (conv("y", "image", 77, 3, 3, 3), conv("z", "y", 5, 77, 3, 3)), (3, 12, 16), ("z",)
    )
    image = np.random.default_rng(1).normal(size=(3, 12, 16)).astype(np.float32)
    small, exact = tmp_path / "a.small.ncnn.param", tmp_path / "b.ncnn.param"
    EXPORTER.write(graph, make_contract(), small)
    write_ncnn(with_palettes(graph), make_contract(), exact)
    results = [run["ncnn"](path, image, ("z",))[0] for path in (small, exact)]
    assert decibels(*results) > 60, "but for what float16 adds to the other"
    write_ncnn(graph, make_contract(), exact)
    (unrounded,) = run["ncnn"](exact, image, ("z",))
    assert 25 < decibels(unrounded, results[0]) < 50


@pytest.mark.parametrize("preset", ["n-320", "s-320", "paper-320"])
def test_networks_lose_little(
    preset: str, tmp_path: Path, make_network: Any, run: Any, decibels: Any
) -> None:
    network, contract = make_network(preset, size=64)
    graph = build_graph(network, contract)
    image = np.random.default_rng(3).normal(size=(3, 64, 64)).astype(np.float32)
    small, half = tmp_path / "a.small.ncnn.param", tmp_path / "b.ncnn.param"
    EXPORTER.write(graph, contract, small)
    write_ncnn(graph, contract, half)
    results = [run["ncnn"](path, image, graph.outputs) for path in (half, small)]
    assert min(map(decibels, *results)) > 20
    bytes_of = small.with_suffix(".bin").read_bytes()
    weights = sum(x.weight.size for x in graph.layers if isinstance(x, Conv))
    assert len(bytes_of) < 0.32 * 4 * weights
    EXPORTER.write(graph, contract, small)
    assert small.with_suffix(".bin").read_bytes() == bytes_of
