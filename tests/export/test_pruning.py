"""Constant channels go, and what they amount to stays."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.export.graph import Activation, Add, Conv, Graph, Layer, Pads
from mobileyolact.export.pruning import without_constants
from mobileyolact.quantize.execute import execute, stored_weights

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
