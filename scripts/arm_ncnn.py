"""The integer convolutions of an ncnn file on Arm, held against ``quantize.engines.ncnn``.

Values are right within the roundings that are allowed there, halves are rounded exactly here, and
no share of wrong ones needs to be allowed. One thing more: depthwise kernels for channels that are
no multiple of 8 (``convolutiondepthwise_3x3_int8.h``) cut off at -128, not -127, which the next
layer takes as it is.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arm_inside import Arrays
from arm_onnx import Agreement
from numpy.typing import NDArray

from mobileyolact.export.graph import Activation, Conv, Pads
from mobileyolact.export.ncnn import FLOAT16_TAG, FLOAT32_TAG
from mobileyolact.export.ncnn_int8 import INT8_TAG, REQUANTIZED
from mobileyolact.export.ncnn_small import COLOURS
from mobileyolact.export.quantized import HIGH, QuantizedConv
from mobileyolact.quantize.engines.ncnn import ROUNDINGS, convolve

FloatArray = NDArray[np.float32]
PACKED = 8  # channels that are computed together


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """One of the file; ``scale_out`` only where codes are written, else floats are."""

    layer: Conv
    conv: QuantizedConv
    scales: FloatArray
    scale_in: np.float32
    scale_out: np.float32 | None
    reads_codes: bool

    @property
    def source(self) -> str:
        return self.layer.inputs[0]

    @property
    def target(self) -> str:
        return self.layer.outputs[0]


def read_integer_layers(path: Path) -> list[IntegerLayer]:
    """The integer convolutions of a ``.param`` file of ours with its ``.bin``; none if float."""
    data = _Reader(path.with_suffix(".bin").read_bytes())
    coded: set[str] = set()
    found = []
    for line in path.read_text(encoding="utf-8").splitlines()[2:]:
        kind, name, inputs, outputs, *words = line.split()
        blobs = int(inputs) + int(outputs)
        sources, targets = words[: int(inputs)], words[int(inputs) : blobs]
        numbers = dict(word.split("=") for word in words[blobs:])
        if kind == "Split" and sources[0] in coded:
            coded.update(targets)
        if not kind.startswith("Convolution"):
            continue
        out, size = int(numbers["0"]), int(numbers["6"])
        weight = data.kernel(size)
        bias, term = data.floats(out), int(numbers.get("8", 0))
        if term == 0:
            continue
        assert weight is not None, "an integer convolution has an integer kernel"
        scales, (scale_in,) = data.floats(out), data.floats(1)
        scale_out = data.floats(1)[0] if term > REQUANTIZED else None
        if scale_out is not None:
            coded.update(targets)
        height, width = int(numbers["11"]), int(numbers["1"])
        weight = weight.reshape(out, -1, height, width)
        layer = Conv(
            name=name,
            inputs=tuple(sources),
            outputs=tuple(targets),
            weight=weight.astype(np.float32),
            bias=bias,
            stride=int(numbers["3"]),
            pads=Pads(*(int(numbers[key]) for key in ("4", "15", "14", "16"))),
            groups=int(numbers.get("7", 1)),
            activation=_activation(numbers),
        )
        conv = QuantizedConv(weight, np.float32(1) / scales)
        found.append(IntegerLayer(layer, conv, scales, scale_in, scale_out, sources[0] in coded))
    assert data.at_end, "the .bin holds what the .param names, and no more"
    return found


def compare(layers: list[IntegerLayer], arrays: Arrays) -> Agreement:
    """What each layer wrote with what its emulation makes of its input, both in ``arrays``."""
    compared = ties = wrong = 0
    for one in layers:
        source, engine = arrays[one.source], arrays[one.target]
        codes = source if one.reads_codes else to_codes(source * one.scale_in)
        factors = np.float32(1) / (one.scale_in * one.scales)
        values, rounding = convolve(one.layer, one.conv, codes.astype(np.int8), factors)
        low, high = values - ROUNDINGS * rounding, values + ROUNDINGS * rounding
        if one.scale_out is not None:
            lowest = -HIGH - (one.layer.groups % PACKED > 0)
            low = to_codes(low * one.scale_out, lowest)
            values, high = (to_codes(x * one.scale_out) for x in (values, high))
        right = (engine >= low) & (engine <= high)
        compared += engine.size
        wrong += int(np.count_nonzero(~right))
        if one.scale_out is not None:
            ties += int(np.count_nonzero(right & (engine != values)))
    return Agreement(compared, ties, wrong)


def to_codes(scaled: FloatArray, lowest: int = -HIGH) -> FloatArray:
    """The nearest whole numbers, halves away from zero, within ``lowest``..127, as floats."""
    rounded = np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled)
    return rounded.clip(lowest, HIGH).astype(np.float32)


def _activation(numbers: dict[str, str]) -> Activation | None:
    match numbers.get("9", "0"):
        case "0":
            return None
        case "1":
            return Activation("relu")
        case "2":
            return Activation("leaky_relu", float(numbers["-23310"].split(",")[1]))
        case "3":
            return Activation("relu6")
        case other:
            raise ValueError(f"no activation of ours: {other}")


class _Reader:
    """Takes kernels and floats from the bytes of a ``.bin``, in their order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position == len(self.data)

    def kernel(self, size: int) -> NDArray[np.int8] | None:
        """The kernel that comes next if it is of integers; others are passed over."""
        (tag,) = struct.unpack("<I", self._take(4))
        if tag == INT8_TAG:
            return np.frombuffer(self._take(size), np.int8)
        self._take({FLOAT32_TAG: 4 * size, FLOAT16_TAG: 2 * size}.get(tag, 4 * COLOURS + size))
        return None

    def floats(self, count: int) -> FloatArray:
        return np.frombuffer(self._take(4 * count), "<f4")

    def _take(self, count: int) -> bytes:
        start = self.position
        self.position += -(-count // 4) * 4
        return self.data[start : start + count]
