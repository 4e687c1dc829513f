"""Constant channels go, and what they amount to stays."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import Activation, Add, Conv, Graph, Layer, Pads
from mobileyolact.export.pruning import without_constants, without_constants_int8
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.quantize.engines.onnx import emulate_convolution, emulate_product
from mobileyolact.quantize.execute import execute, stored_weights
from mobileyolact.quantize.ptq import quantize_layers

DEAD = [1, 4]
ACTIVATIONS = [None, Activation("relu"), Activation("relu6"), Activation("leaky_relu", 0.1)]


def conv(name: str, source: str, shape: tuple[int, ...], **fields: Any) -> Conv:
    generator = np.random.default_rng(len(name) + shape[0])
    pad = shape[2] // 2
    values: dict[str, Any] = {
        "weight": generator.normal(size=shape).astype(np.float32),
        "bias": generator.normal(size=shape[0]).astype(np.float32) * 5,
        "pads": Pads(pad, pad, pad, pad),
        **fields,
    }
    return Conv(name=name, inputs=(source,), outputs=(name,), **values)


def chain(activation: Activation | None = None, size: float = 1e-9) -> list[Conv]:
    """Dense, depthwise with two channels that hardly vary, pointwise."""
    dw = conv("dw", "in", (8, 1, 3, 3), groups=8, activation=activation)
    dw.weight[DEAD] *= size
    return [conv("in", "image", (8, 3, 3, 3)), dw, conv("out", "dw", (4, 8, 1, 1))]


def graph(*layers: Layer, outputs: tuple[str, ...] = ("out",)) -> Graph:
    return Graph(layers, (3, 9, 11), outputs)


def run(network: Graph) -> Any:
    image = torch.randn(1, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return [x.numpy() for x in execute(network, image, stored_weights(network))]


def assert_same(before: Graph, after: Graph) -> None:
    for a, b in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6 * np.abs(a).max())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.kind if a else "linear")
def test_dead_channels_go_and_outputs_stay(activation: Activation | None) -> None:
    before = graph(*chain(activation))
    after = without_constants(before)
    assert [after.shapes[name][0] for name in ("in", "dw", "out")] == [6, 6, 4]
    assert [layer.name for layer in after.layers] == ["in", "dw", "out"]
    assert_same(before, after)


def test_two_readers_both_keep_what_a_constant_amounts_to() -> None:
    before = graph(*chain(), conv("other", "dw", (5, 8, 1, 1)), outputs=("out", "other"))
    after = without_constants(before)
    assert after.shapes["dw"][0] == 6
    assert_same(before, after)


def test_a_channel_that_varies_a_little_stays() -> None:
    before = graph(*chain(size=1e-3))
    assert without_constants(before) == before


def quantize(network: Graph, low: float = -40.0) -> QuantizedLayers:
    """``dw`` and ``middle`` are integer convolutions, ``out`` a product of codes."""
    ranges = {name: (low, 40.0) for name in network.shapes} | {"in": (0.0, 6.0)}
    return quantize_layers(network, ["dw", "middle"], ranges, Quantization("full", "ptq"))


def compute_codes(network: Graph, quantized: QuantizedLayers) -> list[Any]:
    """The codes of ``middle`` and the floats of ``out``, from codes of ``in`` that are drawn."""
    layers = {layer.name: layer for layer in network.layers if isinstance(layer, Conv)}
    codes = np.random.default_rng(4).integers(0, 128, (8, 9, 11)).astype(np.int8)
    # The channels that are left, in the network that lacks some.
    codes = codes if network.shapes["in"][0] == 8 else np.delete(codes, DEAD, 0)
    found, source = [], "in"
    for name in ("dw", "middle"):
        kinds = quantized.tensors[source], quantized.tensors[name]
        codes = emulate_convolution(layers[name], quantized.convs[name], *kinds, codes)
        found, source = [codes], name
    last = quantized.stored["out"]
    return [*found, emulate_product(layers["out"], last, quantized.tensors[source], codes)]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.kind if a else "linear")
def test_codes_stay_the_same(activation: Activation | None) -> None:
    first, dw, _ = chain(activation)
    middle = conv("middle", "dw", (5, 8, 1, 1), activation=Activation("leaky_relu", 0.1))
    before = graph(first, dw, middle, conv("out", "middle", (4, 5, 1, 1)))
    quantized = quantize(before)
    after, thinner = without_constants_int8(before, quantized)
    leaky = activation is not None and activation.kind == "leaky_relu"
    assert after.shapes["dw"][0] == (8 if leaky else 6)
    assert thinner.convs["dw"].weight.shape == (after.shapes["dw"][0], 1, 3, 3)
    assert thinner.tensors == quantized.tensors
    for a, b in zip(compute_codes(before, quantized), compute_codes(after, thinner), strict=True):
        assert a.min() < a.max()
        np.testing.assert_array_equal(a, b)


def test_the_product_of_codes_absorbs_a_constant_too() -> None:
    before = graph(*chain())
    quantized = quantize_layers(
        before,
        ["dw"],
        {"image": (-3.0, 3.0), "in": (0.0, 6.0), "dw": (-40.0, 40.0), "out": (-9.0, 9.0)},
        Quantization("full", "ptq"),
    )
    after, thinner = without_constants_int8(before, quantized)
    outputs = []
    for network, record in ((before, quantized), (after, thinner)):
        layers = {layer.name: layer for layer in network.layers if isinstance(layer, Conv)}
        codes = np.random.default_rng(4).integers(0, 128, (8, 9, 11)).astype(np.int8)
        codes = codes if network.shapes["in"][0] == 8 else np.delete(codes, DEAD, 0)
        kinds = record.tensors["in"], record.tensors["dw"]
        codes = emulate_convolution(layers["dw"], record.convs["dw"], *kinds, codes)
        outputs.append(emulate_product(layers["out"], record.stored["out"], kinds[1], codes))
    np.testing.assert_array_equal(*outputs)


def untouched() -> dict[str, Graph]:
    first, dw, out = chain()
    plus = Add(name="sum", inputs=("in", "dw"), outputs=("sum",))
    padded = conv("out", "dw", (4, 8, 3, 3))
    return {
        "the constant is 0 in the padding of what reads it": graph(first, dw, padded),
        "another layer reads the depthwise convolution": graph(first, dw, out, plus),
        "a runtime reads the depthwise convolution": graph(first, dw, out, outputs=("out", "dw")),
        "another convolution reads its input": graph(
            first, dw, out, conv("side", "in", (2, 8, 1, 1)), outputs=("out", "side")
        ),
        "a kernel is shared": graph(
            first, dw, out, replace(first, name="twin", outputs=("twin",)), outputs=("out", "twin")
        ),
        "nothing dense comes before": graph(
            conv("dw", "image", (3, 1, 3, 3), groups=3, weight=np.zeros((3, 1, 3, 3), np.float32)),
            conv("out", "dw", (4, 3, 1, 1)),
        ),
    }


@pytest.mark.parametrize("why", untouched())
def test_what_cannot_be_left_out(why: str) -> None:
    before = untouched()[why]
    assert without_constants(before).shapes == before.shapes
