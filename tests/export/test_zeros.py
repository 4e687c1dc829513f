"""Channels that are 0 go, and outputs and codes stay."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import Quantization
from mobileyolact.export.faster import faster, faster_int8
from mobileyolact.export.graph import (
    INPUT_NAME,
    Activation,
    Add,
    Concat,
    Conv,
    Graph,
    Layer,
    MaxPool,
    Pads,
    Resize,
)
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.export.zeros import without_zeros, without_zeros_int8
from mobileyolact.quantize.engines.onnx import emulate_convolution
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers

DEAD = [1, 4]
LEAKY = Activation("leaky_relu", 0.1)


def conv(name: str, source: str, shape: tuple[int, ...], dead: bool = True, **fields: Any) -> Conv:
    """A convolution whose channels ``DEAD`` are 0."""
    generator = np.random.default_rng(sum(map(ord, name)))
    weight = generator.normal(size=shape).astype(np.float32)
    bias = generator.normal(size=shape[0]).astype(np.float32)
    if dead:
        weight[DEAD], bias[DEAD] = 0, 0
    pad = shape[2] // 2
    values = {"weight": weight, "bias": bias, "pads": Pads(pad, pad, pad, pad), **fields}
    return Conv(name=name, inputs=(source,), outputs=(name,), **values)


def layers() -> list[Layer]:
    """As in a prototype branch: enlarged, summed, depthwise, pointwise."""
    return [
        conv("low", "image", (8, 3, 3, 3), stride=2, activation=LEAKY),
        Resize(name="up", inputs=("low",), outputs=("up",), mode="bilinear", scale=2),
        conv("high", "image", (8, 3, 1, 1)),
        Add(name="sum", inputs=("up", "high"), outputs=("sum",)),
        conv("dw", "sum", (8, 1, 3, 3), groups=8, activation=LEAKY),
        MaxPool(name="pool", inputs=("dw",), outputs=("pool",), kernel=3, stride=1, padding=1),
        conv("out", "pool", (4, 8, 1, 1), dead=False),
    ]


def graph(*parts: Layer, outputs: tuple[str, ...] = ("out",)) -> Graph:
    return Graph(parts, (3, 10, 12), outputs)


def run(network: Graph) -> list[Any]:
    image = torch.randn(1, 3, 10, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return [x.numpy() for x in execute(network, image, stored_weights(network))]


def assert_same(before: Graph, after: Graph) -> None:
    for a, b in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6 * np.abs(a).max())


def test_zeros_go_through_sums_and_resizing() -> None:
    before = graph(*layers())
    after = without_zeros(before)
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    for name in ("low", "up", "high", "sum", "dw", "pool"):
        assert after.shapes[name][0] == 6, name
    assert_same(before, after)
    assert faster(before).macs() < before.macs() * 0.8


def with_conv(name: str, **fields: Any) -> list[Layer]:
    return [replace(layer, **fields) if layer.name == name else layer for layer in layers()]


def held() -> dict[str, tuple[Graph, str]]:
    ones = np.ones((8, 3, 3, 3), np.float32)
    both = Concat(name="both", inputs=("up", "high"), outputs=("both",), axis=0)
    twin = replace(layers()[-1], name="twin", outputs=("twin",))
    shared = {"weight": conv("out", "pool", (4, 8, 1, 1), dead=False).weight}
    return {
        "one of two summands is not 0": (graph(*with_conv("low", weight=ones)), "high"),
        "a bias makes it other than 0": (graph(*with_conv("dw", bias=ones[:, 0, 0, 0])), "low"),
        "a runtime reads it": (graph(*layers(), outputs=("out", "low")), "low"),
        "another layer reads it": (graph(*layers(), both, outputs=("out", "both")), "high"),
        "a kernel is shared": (
            graph(*with_conv("out", **shared), replace(twin, **shared), outputs=("out", "twin")),
            "low",
        ),
    }


@pytest.mark.parametrize("why", held())
def test_what_cannot_be_left_out(why: str) -> None:
    before, name = held()[why]
    after = without_zeros(before)
    assert after.shapes[name][0] == 8
    assert_same(before, after)


def test_a_layer_that_is_0_throughout_keeps_its_channels() -> None:
    dark = replace(conv("in", INPUT_NAME, (8, 3, 1, 1)), weight=np.zeros((8, 3, 1, 1), np.float32))
    dark = replace(dark, bias=np.zeros(8, np.float32))
    before = graph(dark, conv("out", "in", (4, 8, 1, 1), dead=False))
    assert without_zeros(before).shapes == before.shapes


def test_codes_stay_the_same() -> None:
    chain = [
        conv("in", "image", (8, 3, 3, 3)),
        conv("dw", "in", (8, 1, 3, 3), groups=8, activation=LEAKY),
        conv("out", "dw", (4, 8, 1, 1), dead=False),
    ]
    before = graph(*chain)
    ranges = dict.fromkeys(before.shapes, (-6.0, 6.0))
    record = quantize_layers(before, ["dw", "out"], ranges, Quantization("full", "ptq"))
    after, thinner = without_zeros_int8(before, record)
    assert after.shapes["dw"][0] == 6
    assert thinner.convs["dw"].weight.shape == (6, 1, 3, 3)
    assert thinner.convs["dw"].steps.shape == (6,)
    assert thinner.convs["out"].weight.shape == (4, 6, 1, 1)
    drawn = np.random.default_rng(4).integers(-128, 128, (8, 10, 12)).astype(np.int8)
    drawn[DEAD] = 0
    whole, less = (
        codes_of(network, quantized, codes)
        for network, quantized, codes in (
            (before, record, drawn),
            (after, thinner, np.delete(drawn, DEAD, 0)),
        )
    )
    assert whole.min() < whole.max()
    np.testing.assert_array_equal(whole, less)


def codes_of(network: Graph, quantized: QuantizedLayers, codes: Any) -> Any:
    found = {layer.name: layer for layer in network.layers if isinstance(layer, Conv)}
    for source, name in (("in", "dw"), ("dw", "out")):
        kinds = quantized.tensors[source], quantized.tensors[name]
        codes = emulate_convolution(found[name], quantized.convs[name], *kinds, codes)
    return codes


@pytest.mark.parametrize("format", ["onnx", "ncnn", "torchscript"])
def test_every_int8_format_is_written_from_less(format: str) -> None:
    before = graph(*layers())
    ranges = dict.fromkeys(before.shapes, (-6.0, 6.0))
    record = quantize_layers(before, ["dw", "out"], ranges, Quantization("full", "ptq"))
    after, thinner = faster_int8(before, record, format)
    assert after.shapes["sum"][0] == 6
    assert thinner.convs["dw"].weight.shape[0] == 6
