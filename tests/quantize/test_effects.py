"""What each layer alone costs, and its plot."""

from xml.etree import ElementTree

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import Codes, QuantizedConv, QuantizedLayers
from mobileyolact.quantize.effects import LayerEffect, layer_effects, plot

NOBODY = Quantization("full", "ptq")


def chain(*kernels: float) -> Graph:
    """1x1 convolutions of one channel, one behind the other."""
    layers, source = [], "image"
    for name, kernel in zip("abc", kernels, strict=False):
        weight = np.full((1, 3 if source == "image" else 1, 1, 1), kernel, np.float32)
        bias = np.zeros(1, np.float32)
        layer = Conv(name=name, inputs=(source,), outputs=(name,), weight=weight, bias=bias)
        layers.append(layer)
        source = name
    return Graph(tuple(layers), (3, 2, 2), (source,))


def test_the_layer_that_is_rounded_most_coarsely_comes_first() -> None:
    graph = chain(1.0, 1.0, 1.0)
    exact = QuantizedConv(np.full((1, 1, 1, 1), 64, np.int8), np.array([1 / 64], np.float32))
    off = QuantizedConv(np.full((1, 1, 1, 1), 60, np.int8), np.array([1 / 64], np.float32))
    fine = Codes(2**-5, -127)
    record = QuantizedLayers({"a": fine, "b": fine, "c": fine}, {"b": exact, "c": off}, NOBODY)
    image = np.full((1, 3, 2, 2), 0.5, np.float32)  # 1.5 behind a, a multiple of the step
    worst, best = layer_effects(graph, record, [image, image])
    assert (worst.layer, best.layer) == ("c", "b")
    assert worst.share == pytest.approx(1)
    rounded = np.rint(1.5 * 60 / 64 * 32) / 32
    assert worst.noise == pytest.approx(((1.5 - rounded) ** 2 / 1.5**2,), rel=1e-4)
    assert best.noise == pytest.approx((0.0,), abs=1e-12)


def test_the_plot_is_one_bar_a_layer_and_well_formed() -> None:
    effects = [LayerEffect(f"l<{i}>", (0.1,), 0.5 / (i + 1)) for i in range(60)]
    root = ElementTree.fromstring(plot(effects, "a & b"))
    texts = [x.text for x in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:3] == ["a & b", "l<0>", "50.0%"]
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert len(bars) == 40
    assert widths == sorted(widths, reverse=True)
    assert ElementTree.fromstring(plot([], "nothing")) is not None
