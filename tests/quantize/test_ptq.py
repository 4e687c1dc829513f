"""From ranges to steps and integer kernels, at the ends of what they may be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import Codes, QuantizedConv, QuantizedLayers
from mobileyolact.quantize.ptq import codes_for, quantize_layers

SUMMARY = Quantization("full", "ptq")


def of_two(
    ranges: tuple[tuple[float, float], tuple[float, float]], weight: float = 1.0, bias: float = 0.0
) -> QuantizedLayers:
    """A record of one integer convolution, its input and output in ``ranges``."""
    layer = Conv(
        name="y",
        inputs=("image",),
        outputs=("y",),
        weight=np.full((1, 3, 1, 1), weight, np.float32),
        bias=np.array([bias], np.float32),
    )
    graph = Graph((layer,), (3, 4, 4), ("y",))
    return quantize_layers(graph, ["y"], {"image": ranges[0], "y": ranges[1]}, SUMMARY)


def kernel(*ranges: tuple[float, float], **numbers: float) -> QuantizedConv:
    return of_two((ranges[0], ranges[1]), **numbers).convs["y"]


@pytest.mark.parametrize(
    ("low", "high", "steps", "least"),
    [
        (0, 1.27, 0.01, 0),
        (-1.27, 1.27, 0.01, -128),  # all bytes, so that none has to be cut off
        (-1.255, 1.27, 0.01, -126),
        (-2.54, 1.27, 0.02, -128),
        (-0.123, 1.27, 0.01, -13),
        (-1e-9, 1.27, 0.01, -1),
        (-5.0, 0, 5 / 127, -128),
        (0, 0, 1, 0),
    ],
)
def test_codes_reach_as_far_as_the_values(
    low: float, high: float, steps: float, least: int
) -> None:
    codes = codes_for(low, high)
    assert codes.step == np.float32(codes.step) == pytest.approx(steps)
    assert codes.low == least
    ends = codes.nearest(np.array([low, high], np.float32)).astype(int) * codes.step
    assert ends.tolist() == pytest.approx([low, high], abs=codes.step / 2)


def test_ranges_that_do_not_include_0_are_widened_to_it() -> None:
    record = of_two(((0.5, 1.27), (-1.27, -0.5)))
    assert record.tensors["image"] == codes_for(0, 1.27)
    assert record.tensors["y"] == codes_for(-1.27, 0)
    assert record.summary == SUMMARY


@pytest.mark.parametrize(("low", "limit"), [(0.0, 127), (-1.0, 64)])
def test_kernels_reach_no_further_than_the_input_allows(low: float, limit: int) -> None:
    assert Codes(1.0, 0 if low == 0 else -127).weight_limit == limit
    found = kernel((low, 1.0), (0.0, 1.0), weight=-0.5)
    assert found.weight.ravel().tolist() == [-limit] * 3
    assert found.steps.tolist() == pytest.approx([0.5 / limit])


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1.0])
def test_a_bias_is_a_number_of_30_bits_in_units_of_the_sum(weight: float) -> None:
    record = of_two(((0.0, 1.0), (0.0, 50.0)), weight=weight, bias=-50.0)
    units = record.tensors["image"].step * record.convs["y"].steps.astype(np.float64)
    assert np.abs(50 / units).max() < 2**29 * (1 + 1e-6)
    assert (record.convs["y"].weight.max() == 127) == (weight == 1)


def of_floats(name: str, source: str, weight: NDArray[np.float32], bias: float = 0.0) -> Conv:
    return Conv(
        name=name,
        inputs=(source,),
        outputs=(name,),
        weight=weight,
        bias=np.full(len(weight), bias, np.float32),
    )


def test_kernels_that_give_floats_have_8_bits_if_they_are_large_or_multiply_codes() -> None:
    rng = np.random.default_rng(0)
    tiny, large, shared = (
        rng.normal(size=(count, 3, 1, 1)).astype(np.float32) for count in (3, 200, 3)
    )
    shared[0] = 0
    layers = (
        of_floats("tiny", "image", tiny),
        of_floats("large", "image", large),
        of_floats("coded", "tiny", tiny),
        of_floats("one", "coded", shared),
        of_floats("other", "one", shared, bias=1e6),
    )
    graph = Graph((*layers, of_floats("y", "one", tiny)), (3, 4, 4), ("y",))
    ranges = {name: (-9.0, 10.0) for name in graph.shapes} | {"one": (0.0, 10.0)}
    record = quantize_layers(graph, ["coded", "y"], ranges, SUMMARY)
    assert record.tensors.keys() == {"tiny", "coded", "one", "y"}
    assert record.convs.keys() == {"coded", "y"}
    assert record.stored.keys() == {"large", "one", "other"}
    assert np.abs(record.stored["large"].weight).max() == record.limit_of(layers[1]) == 127
    kernel = record.stored["one"]
    assert kernel is record.stored["other"], "what two layers share is stored once"
    limits = {layer.name: record.limit_of(layer) for layer in layers}
    assert limits["one"] < limits["other"] == 127
    assert np.abs(kernel.weight).max() <= limits["one"]
    assert not kernel.weight[0].any()
    # In units of the sum the larger bias fits into 32 bits.
    assert (1e6 / (record.tensors["one"].step * kernel.steps) < 2**30).all()
