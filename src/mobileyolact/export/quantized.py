"""What int8 adds to a graph: which tensors are codes and at which step, and integer kernels.

One record for all engines. A code q stands for the value step * q. Codes lie within -128..127, in
ncnn, which has no -128, within -127..127; ONNX Runtime and PyTorch hold them as unsigned bytes,
q + zero_point.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import (
    Activation,
    Concat,
    Conv,
    Flatten,
    Layer,
    MaxPool,
    Resize,
    Shuffle,
    Split,
)

LOW, HIGH = -128, 127
BYTE = HIGH - LOW  # the greatest

# With factors that are a little greater than such round numbers, no byte of a sum lies exactly
# between two codes, where one engine would round up and another down.
SUM_FACTORS = (1.0, *(factor * (1 + 2**-13) for factor in (1.25, 1.5, 1.75, 2.0, 2.5, 3.0)))
# Likewise the slope of a leaky ReLU: 0.1 would put codes -5, -15, .. exactly between two others,
# where PyTorch rounds the end of a tensor otherwise than its middle, and Arm otherwise than x86.
SLOPE_FACTOR = 1 + 2**-13

_PAIR = 2**15 - 1  # the sum of two products that AVX2 keeps in 16 bits before it adds further


@dataclass(frozen=True)
class Codes:
    """A tensor of codes ``low``..127 at ``step``; ``low`` is 0 where no value is negative.

    ``step`` is a float32 number, so that every format stores the very same one.
    """

    step: float
    low: int

    @property
    def zero_point(self) -> int:
        """The unsigned byte that stands for 0: then ``low`` is byte 0."""
        return -self.low

    @property
    def pair_limit(self) -> int:
        """What two kernel codes may be together so that no engine's integer sum can saturate.

        AVX2 without VNNI multiplies unsigned bytes by signed ones and adds pairs in 16 bits.
        """
        return _PAIR // (HIGH + self.zero_point)

    @property
    def weight_limit(self) -> int:
        """The largest kernel code with which that is so of any two."""
        return min(HIGH, self.pair_limit // 2)

    def after(self, activation: Activation | None) -> tuple[int, int]:
        """The least and greatest code that may follow ``activation``."""
        if activation is None or activation.kind == "leaky_relu":
            return self.low, HIGH
        six = self.nearest(np.array(6, np.float32))
        return 0, int(six) if activation.kind == "relu6" else HIGH

    def fill_bytes(self, activation: Activation | None = None) -> bool:
        """Whether every byte is a code that may follow ``activation``, so that none is cut off."""
        return self.after(activation) == (LOW, HIGH)

    def nearest(self, values: NDArray[np.float32]) -> NDArray[np.int8]:
        """The codes of float32 ``values`` of any shape, half to even, clipped to the range."""
        scaled = np.rint(values / np.float32(self.step))
        return np.clip(scaled, self.low, HIGH).astype(np.int8)


@dataclass(frozen=True, eq=False)
class QuantizedConv:
    """An integer kernel: ``weight`` int8 (out, in / groups, h, w), ``steps`` float32 (out,).

    ONNX Runtime and PyTorch round the sum to bytes before a leaky ReLU. Such a byte is worth
    ``sum_factor`` steps of the output: 1, or one of ``SUM_FACTORS`` where sums reach far below 0.
    """

    weight: NDArray[np.int8]
    steps: NDArray[np.float32]
    sum_factor: float = 1.0

    @property
    def sum_zero(self) -> int:
        """The byte of 0 in the sum: up to code 127 comes out, the rest is for what lies below 0."""
        return BYTE - int(HIGH // self.sum_factor)

    def sum_step(self, output: Codes) -> float:
        """What a byte of the sum is worth, a float32 number; ``output`` is behind the ReLU."""
        return float(np.float32(output.step * self.sum_factor))

    def sum_terms(self, output: Codes, slope: float) -> tuple[Codes, Codes]:
        """A leaky ReLU as a sum of two tensors of bytes of the sum.

        ``slope`` times all of them, and the rest times those of 0 and above.
        """
        step, part = self.sum_step(output), slope * SLOPE_FACTOR
        first, second = (float(np.float32(step * x)) for x in (part, 1 - part))
        return Codes(first, -self.sum_zero), Codes(second, -self.sum_zero)

    @property
    def values(self) -> NDArray[np.float32]:
        """The kernel in float32, as its codes say."""
        return self.weight * self.steps.reshape(-1, *[1] * (self.weight.ndim - 1))


def quantize_kernel(
    weight: NDArray[np.float32],
    limit: NDArray[np.float32] | float = HIGH,
    least: NDArray[np.float32] | float = 0.0,
) -> QuantizedConv:
    """Round a kernel (out, in / groups, h, w) to codes within +-``limit``, a step per channel.

    ``limit``, a whole number, may be one a channel (out,). No step is below ``least`` (out,).
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    steps = np.maximum(np.where(largest > 0, largest, 1) / limit, least).astype(np.float32)
    codes = np.rint(weight / steps.reshape(-1, *[1] * (weight.ndim - 1)))
    return QuantizedConv(codes.astype(np.int8), steps)


def integer_kernel(layer: Conv, source: Codes) -> QuantizedConv:
    """The kernel of ``layer`` rounded for an input of ``source``: no engine's sum can saturate."""
    return quantize_kernel(layer.weight, source.weight_limit, least_steps(layer, source))


def least_steps(layer: Conv, source: Codes) -> NDArray[np.float32]:
    """Steps (out,) with which the bias is a number of 32 bits in units of the sum.

    Half of them are enough.
    """
    return (np.abs(layer.bias) / (source.step * 2**29)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class QuantizedLayers:
    """Everything that int8 writers and emulations read besides the graph.

    ``convs`` are the convolutions computed with integers, by layer name; their inputs and outputs
    are among ``tensors``, the tensors that are codes, by tensor name. All others are float32.
    ``stored`` are kernels of convolutions that give floats, in 8 bits as files hold them (but
    ncnn's); what is in neither has the kernel of the graph. So have all their biases.
    ``summary`` is what the contract says of it.
    """

    tensors: Mapping[str, Codes]
    convs: Mapping[str, QuantizedConv]
    summary: Quantization
    stored: Mapping[str, QuantizedConv] = field(default_factory=dict)

    def limit_of(self, layer: Conv) -> int:
        """The largest code in the kernel of ``layer``, whatever it is computed with."""
        source = self.tensors.get(layer.inputs[0])
        return HIGH if source is None else source.weight_limit

    def moves(self, layer: Layer) -> bool:
        """Whether ``layer`` does no more than put codes elsewhere, which needs no arithmetic."""
        if isinstance(layer, Resize):
            moving = layer.mode == "nearest"
        else:
            moving = isinstance(layer, Concat | Flatten | MaxPool | Shuffle | Split)
        return moving and self.tensors.keys() >= {*layer.inputs, *layer.outputs}
