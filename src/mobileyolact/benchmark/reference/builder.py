"""Writes a network for ncnn layer by layer: the text of its ``.param``, and random weights.

The parameter numbers are those of ncnn's ``operators`` reference.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from mobileyolact.export.ncnn import FLOAT16_TAG, MAGIC

INPUT = "image"
_POOL = 1 << 16
_ACTIVATIONS = {None: "", "relu": " 9=1", "leaky": " 9=2 -23310=1,0.1", "sigmoid": " 9=4"}


@dataclass(frozen=True)
class Tensor:
    """What a layer writes; ``side`` is its height and its width."""

    name: str
    channels: int
    side: int


@dataclass(frozen=True)
class _Line:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: str


class Builder:
    """One network; each method adds a layer and gives what it writes.

    ``macs`` counts the multiply-accumulates of convolutions and dense layers so far. Weights are
    so large that the values of layers keep about the size of the input's: values that fade
    become denormal numbers, with which processors are slow.
    """

    def __init__(self, side: int) -> None:
        self.macs = 0
        self._lines: list[_Line] = []
        self._weights: list[bytes] = []
        self._random = np.random.default_rng(0).normal(0, 1, _POOL).astype(np.float32)
        self.image = self._add("Input", (), 3, side, f"0={side} 1={side} 2=3")

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        activation: str | None = "relu",
        pad: int | None = None,
        groups: int = 1,
    ) -> Tensor:
        """Convolution with bias; ``pad`` on all sides, by default half the kernel."""
        pad = kernel // 2 if pad is None else pad
        side = (x.side + 2 * pad - kernel) // stride + 1
        fan_in = x.channels // groups * kernel * kernel
        self._store(channels * fan_in, fan_in, channels)
        self.macs += channels * fan_in * side * side
        parameters = f"0={channels} 1={kernel} 3={stride} 4={pad} 5=1 6={channels * fan_in}"
        if groups > 1:
            parameters += f" 7={groups}"
        kind = "ConvolutionDepthWise" if groups > 1 else "Convolution"
        return self._add(kind, (x,), channels, side, parameters + _ACTIVATIONS[activation])

    def depthwise(
        self, x: Tensor, kernel: int = 3, stride: int = 1, activation: str | None = "relu"
    ) -> Tensor:
        return self.conv(x, x.channels, kernel, stride, activation, groups=x.channels)

    def dense(self, x: Tensor, channels: int, activation: str | None = None) -> Tensor:
        """All values of ``x`` into each of ``channels``."""
        fan_in = x.channels * x.side * x.side
        self._store(channels * fan_in, fan_in, channels)
        self.macs += channels * fan_in
        parameters = f"0={channels} 1=1 2={channels * fan_in}"
        return self._add("InnerProduct", (x,), channels, 1, parameters + _ACTIVATIONS[activation])

    def max_pool(self, x: Tensor, kernel: int = 3, stride: int = 2, pad: int = 0) -> Tensor:
        """Without ``pad`` windows that stick out at the right and the bottom count."""
        steps = (x.side + 2 * pad - kernel) / stride
        side = (floor(steps) if pad else ceil(steps)) + 1
        parameters = f"0=0 1={kernel} 2={stride} 3={pad} 5={int(pad > 0)}"
        return self._add("Pooling", (x,), x.channels, side, parameters)

    def average_pool(self, x: Tensor) -> Tensor:
        """Over the whole of each channel."""
        return self._add("Pooling", (x,), x.channels, 1, "0=1 4=1")

    def activation(self, x: Tensor, kind: str) -> Tensor:
        """A layer of its own: ReLU, Swish, HardSwish, HardSigmoid or Sigmoid."""
        return self._add(kind, (x,), x.channels, x.side, "")

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self._add("BinaryOp", (x, y), x.channels, x.side, "0=0")

    def scale(self, x: Tensor, factors: Tensor) -> Tensor:
        """Multiply each channel by its factor."""
        return self._add("BinaryOp", (x, factors), x.channels, x.side, "0=2")

    def concat(self, *xs: Tensor) -> Tensor:
        return self._add("Concat", xs, sum(x.channels for x in xs), xs[0].side, "0=0")

    def split(self, x: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """The ``first`` channels, and the others."""
        parts = [(f"{x.name}_a", first), (f"{x.name}_b", x.channels - first)]
        names = tuple(name for name, _ in parts)
        line = _Line("Slice", f"{x.name}_slice", (x.name,), names, f"-23300=2,{first},-233 1=0")
        self._lines.append(line)
        a, b = (Tensor(name, channels, x.side) for name, channels in parts)
        return a, b

    def shuffle(self, x: Tensor) -> Tensor:
        return self._add("ShuffleChannel", (x,), x.channels, x.side, "0=2")

    def resize(self, x: Tensor, factor: float, mode: str = "nearest") -> Tensor:
        kind = {"nearest": 1, "bilinear": 2}[mode]
        side = int(x.side * factor)
        return self._add("Interp", (x,), x.channels, side, f"0={kind} 1={factor} 2={factor}")

    def rows(self, x: Tensor, values: int) -> Tensor:
        """Cells one after the other, each with rows of ``values``: how detectors give results."""
        turned = self._add("Permute", (x,), x.channels, x.side, "0=3")
        flat = self._add("Flatten", (turned,), x.channels, x.side, "")
        return self._add("Reshape", (flat,), x.channels, x.side, f"0={values} 1=-1")

    def softmax(self, x: Tensor, axis: int = 0) -> Tensor:
        return self._add("Softmax", (x,), x.channels, x.side, f"0={axis} 1=1")

    def render(self) -> tuple[str, bytes]:
        """The text of the ``.param`` and the bytes of the ``.bin``."""
        readers = Counter(name for line in self._lines for name in line.inputs)
        lines = list(self._with_copies(readers))
        blobs = sum(len(line.outputs) for line in lines)
        text = [f"{MAGIC}", f"{len(lines)} {blobs}"]
        for line in lines:
            counts = f"{len(line.inputs)} {len(line.outputs)}"
            words = [line.kind, line.name, counts, *line.inputs, *line.outputs, line.parameters]
            text.append(" ".join(word for word in words if word))
        return "\n".join(text) + "\n", b"".join(self._weights)

    def _with_copies(self, readers: Counter[str]) -> Iterator[_Line]:
        """A tensor of ncnn is read once only: several readers need copies, which are free."""
        copies: dict[str, list[str]] = {}
        for line in self._lines:
            inputs = tuple(copies[n].pop() if n in copies else n for n in line.inputs)
            yield _Line(line.kind, line.name, inputs, line.outputs, line.parameters)
            for output in line.outputs:
                if readers[output] > 1:
                    copies[output] = [f"{output}_{i}" for i in range(readers[output])]
                    yield _Line("Split", f"{output}_split", (output,), tuple(copies[output]), "")

    def _add(
        self, kind: str, inputs: tuple[Tensor, ...], channels: int, side: int, parameters: str
    ) -> Tensor:
        name = f"t{len(self._lines)}" if inputs else INPUT
        names = tuple(x.name for x in inputs)
        self._lines.append(_Line(kind, name, names, (name,), parameters))
        return Tensor(name, channels, side)

    def _store(self, count: int, fan_in: int, biases: int) -> None:
        """``count`` random weights as float16, and zeros as biases."""
        weights = np.resize(self._random, count) * np.float32((2 / fan_in) ** 0.5)
        self._weights.append(_float16(weights) + bytes(4 * biases))


def _float16(weights: npt.NDArray[np.float32]) -> bytes:
    """Behind the tag that says so, filled up to 4 bytes."""
    data = weights.astype("<f2").tobytes()
    return FLOAT16_TAG.to_bytes(4, "little") + data + bytes(-len(data) % 4)
