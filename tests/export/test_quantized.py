"""Codes and integer kernels: what they can tell, and that no engine's sum overflows."""

import numpy as np
import pytest

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import (
    Activation,
    Add,
    Concat,
    Flatten,
    Layer,
    MaxPool,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
)
from mobileyolact.export.quantized import (
    SUM_FACTORS,
    Codes,
    QuantizedConv,
    QuantizedLayers,
    quantize_kernel,
)


def test_half_a_step_goes_to_the_even_code_and_nothing_beyond_the_range() -> None:
    values = np.array([0.25, 0.75, -0.25, -0.75, 63.5, 64, 999, -2, -2.5, -999], np.float32)
    codes = Codes(0.5, -4).nearest(values)
    assert codes.dtype == np.int8
    assert codes.tolist() == [0, 2, 0, -2, 127, 127, 127, -4, -4, -4]
    assert Codes(0.5, 0).nearest(values).min() == 0


def test_what_an_activation_leaves_of_the_codes() -> None:
    relu6, relu, leaky = Activation("relu6"), Activation("relu"), Activation("leaky_relu", 0.1)
    assert Codes(float(np.float32(6 / 127)), 0).after(relu6) == (0, 127)
    assert Codes(0.1, 0).after(relu6) == (0, 60)
    assert Codes(0.01, 0).after(relu6) == (0, 127)
    assert Codes(0.1, -30).after(relu6) == (0, 60)
    assert Codes(0.1, -30).after(relu) == (0, 127)
    assert Codes(0.1, -30).after(leaky) == Codes(0.1, -30).after(None) == (-30, 127)


def test_two_products_fit_16_bits_and_no_bit_is_wasted() -> None:
    limits = []
    for low in range(-127, 1):
        codes = Codes(1.0, low)
        limit, largest_byte = codes.weight_limit, 127 + codes.zero_point
        assert 2 * largest_byte * limit < 2**15
        assert limit == 127 or 2 * largest_byte * (limit + 1) >= 2**15
        limits.append(limit)
    assert (limits[0], limits[-1]) == (64, 127)


@pytest.mark.parametrize("factor", SUM_FACTORS)
def test_a_sum_before_a_leaky_relu_gives_no_code_beyond_127(factor: float) -> None:
    """One more, and the next layer's sums would not fit 16 bits."""
    conv = QuantizedConv(np.zeros((1, 1, 1, 1), np.int8), np.ones(1, np.float32), factor)
    assert 127 - factor < (255 - conv.sum_zero) * factor <= 127
    step = conv.sum_step(Codes(float(np.float32(0.3)), -50))
    assert step == np.float32(step) == pytest.approx(0.3 * factor)


@pytest.mark.parametrize("factor", SUM_FACTORS[1:])
def test_no_byte_of_a_sum_lies_in_the_middle_between_two_codes(factor: float) -> None:
    codes = np.arange(-255, 128) * factor
    for slope in (1.0, 0.1):
        below = slope * codes % 1
        assert np.abs(below - 0.5).min() > 1e-5


def test_a_kernel_has_a_step_for_each_output_channel() -> None:
    weight = np.random.default_rng(0).normal(size=(6, 4, 3, 3)).astype(np.float32)
    weight *= np.logspace(-3, 2, 6, dtype=np.float32)[:, None, None, None]
    weight[2] = 0
    kernel = quantize_kernel(weight, 64)
    assert (kernel.weight.dtype, kernel.steps.dtype) == (np.int8, np.float32)
    assert np.abs(kernel.weight).reshape(6, -1).max(1).tolist() == [64, 64, 0, 64, 64, 64]
    assert kernel.values.dtype == np.float32
    error = np.abs(kernel.values - weight).reshape(6, -1).max(1)
    assert (error <= 0.5001 * kernel.steps).all()


def test_no_step_is_below_the_least() -> None:
    weight = np.array([1.27, 1e-6], np.float32).reshape(2, 1, 1, 1)
    kernel = quantize_kernel(weight, 127, np.array([1e-4, 1e-4], np.float32))
    assert kernel.steps.tolist() == pytest.approx([0.01, 1e-4])
    assert kernel.weight.ravel().tolist() == [127, 0]


def layer(
    kind: type[Layer], *inputs: str, outputs: tuple[str, ...] = ("y",), **more: object
) -> Layer:
    return kind(name="y", inputs=inputs, outputs=outputs, **more)


MOVING = [
    layer(MaxPool, "a", kernel=3, stride=2, padding=1),
    layer(Split, "a", outputs=("b", "c")),
    layer(Concat, "a", "b", axis=0),
    layer(Shuffle, "a", groups=2),
    layer(Resize, "a", mode="nearest", scale=2),
    layer(Flatten, "a"),
]
COMPUTING = [
    layer(Add, "a", "b"),
    layer(Resize, "a", mode="bilinear", scale=2),
    layer(ResizeTo, "a", size=(3, 4)),
]


def test_codes_are_moved_where_no_tensor_is_float() -> None:
    codes = Codes(1.0, 0)
    record = QuantizedLayers(dict.fromkeys("abcy", codes), {}, Quantization("full", "ptq"))
    assert [record.moves(x) for x in MOVING] == [True] * len(MOVING)
    assert [record.moves(x) for x in COMPUTING] == [False] * len(COMPUTING)
    record = QuantizedLayers(dict.fromkeys("ab", codes), {}, Quantization("full", "ptq"))
    assert not any(record.moves(x) for x in MOVING)
