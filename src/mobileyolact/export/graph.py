"""The network as an ordered list of typed layers with named tensors: what every writer reads.

Tensors have no batch dimension here: pictures and features are (channels, height, width),
the rows of a head are (channels, locations) or (locations, channels). Batch norm is already
folded into the convolutions, and weights are float32 numpy arrays.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobileyolact.errors import ModelError

INPUT_NAME = "image"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Activation:
    """What follows a convolution; ``slope`` is the factor of negative values of ``leaky_relu``."""

    kind: Literal["relu", "relu6", "leaky_relu"]
    slope: float = 0.0


@dataclass(frozen=True)
class Pads:
    """Zero padding in cells; the four sides may differ (TensorFlow's SAME at stride 2)."""

    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """One operation: named input tensors in, named output tensors out."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @abstractmethod
    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Shapes of the outputs for the shapes of the inputs; ValueError where they do not fit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Layer):
    """Convolution with bias; ``weight`` is float32 (out, in / groups, kernel_h, kernel_w)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int = 1
    pads: Pads = Pads(0, 0, 0, 0)
    groups: int = 1
    activation: Activation | None = None

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        channels, height, width = shapes[0]
        out, group_channels, kernel_h, kernel_w = self.weight.shape
        if channels != group_channels * self.groups:
            raise ValueError(f"expects {group_channels * self.groups} channels, got {channels}")
        rows = height + self.pads.top + self.pads.bottom - kernel_h
        columns = width + self.pads.left + self.pads.right - kernel_w
        return ((out, rows // self.stride + 1, columns // self.stride + 1),)


@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """Square maximum pooling, the same padding on all sides, incomplete windows dropped."""

    kernel: int
    stride: int
    padding: int

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        channels, *sides = shapes[0]
        height, width = ((s + 2 * self.padding - self.kernel) // self.stride + 1 for s in sides)
        return ((channels, height, width),)


@dataclass(frozen=True, kw_only=True)
class Split(Layer):
    """Cut the channels into equal parts, one for each output, or into parts of ``sizes``."""

    sizes: tuple[int, ...] = ()

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        channels, *rest = shapes[0]
        if self.sizes:
            if sum(self.sizes) != channels or len(self.sizes) != len(self.outputs):
                raise ValueError(f"cannot cut {channels} channels into parts of {self.sizes}")
            return tuple((size, *rest) for size in self.sizes)
        if channels % len(self.outputs):
            raise ValueError(f"cannot cut {channels} channels into {len(self.outputs)} equal parts")
        return ((channels // len(self.outputs), *rest),) * len(self.outputs)


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Join tensors along ``axis`` (0 = first dimension after the batch)."""

    axis: int

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        first = shapes[0]
        before, after = first[: self.axis], first[self.axis + 1 :]
        if any((s[: self.axis], s[self.axis + 1 :]) != (before, after) for s in shapes):
            raise ValueError(f"cannot join {', '.join(map(str, shapes))} along axis {self.axis}")
        return ((*before, sum(s[self.axis] for s in shapes), *after),)


@dataclass(frozen=True, kw_only=True)
class Shuffle(Layer):
    """Channel shuffle (arXiv:1707.01083): with n channels a group, g n + i goes to i groups + g."""

    groups: int

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        if shapes[0][0] % self.groups:
            raise ValueError(f"cannot shuffle {shapes[0][0]} channels in {self.groups} groups")
        return (shapes[0],)


@dataclass(frozen=True, kw_only=True)
class Resize(Layer):
    """Enlarge height and width by ``scale``; bilinear takes cell centres at half positions."""

    mode: Literal["bilinear", "nearest"]
    scale: int

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        channels, height, width = shapes[0]
        return ((channels, height * self.scale, width * self.scale),)


@dataclass(frozen=True, kw_only=True)
class ResizeTo(Layer):
    """Resample bilinearly to ``size`` (height, width), cell centres at half positions."""

    size: tuple[int, int]

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        return ((shapes[0][0], *self.size),)


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """Sum of two tensors of one shape."""

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        if shapes[0] != shapes[1]:
            raise ValueError(f"cannot add tensors of shape {shapes[0]} and {shapes[1]}")
        return (shapes[0],)


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """(channels, height, width) to (channels, locations), cells row by row."""

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        return ((shapes[0][0], math.prod(shapes[0][1:])),)


@dataclass(frozen=True, kw_only=True)
class Transpose(Layer):
    """(rows, columns) to (columns, rows)."""

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        rows, columns = shapes[0]
        return ((columns, rows),)


@dataclass(frozen=True, kw_only=True)
class Ungroup(Layer):
    """Groups of a row become rows: (rows, groups * values) to (rows * groups, values)."""

    values: int

    def infer(self, *shapes: Shape) -> tuple[Shape, ...]:
        rows, columns = shapes[0]
        if columns % self.values:
            raise ValueError(f"cannot cut rows of {columns} into groups of {self.values}")
        return ((rows * (columns // self.values), self.values),)


def infer(layer: Layer, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of the tensors that ``layer`` writes, from those of all tensors before it.

    Raises:
        ModelError: they do not fit together at the input size that ``shapes`` begins with.
    """
    try:
        inferred = layer.infer(*(shapes[name] for name in layer.inputs))
    except ValueError as error:
        height, width = shapes[INPUT_NAME][1:]
        raise ModelError(
            f"layer '{layer.name}' does not fit an input of {width}x{height} pixels "
            f"({error}); choose an input size that is a multiple of 32"
        ) from None
    return dict(zip(layer.outputs, inferred, strict=True))


@dataclass(frozen=True)
class Graph:
    """Layers in an order in which every tensor is written before it is read.

    ``input_shape`` is (3, height, width) of the tensor ``image``; ``outputs`` names the
    tensors that a runtime fetches.

    Raises:
        ModelError: a tensor read before it is written or written twice, an output that
            nothing writes, or shapes that do not fit together at this input size.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {INPUT_NAME: self.input_shape}
        for layer in self.layers:
            if missing := [name for name in layer.inputs if name not in shapes]:
                raise ModelError(f"layer '{layer.name}' reads '{missing[0]}' before it is written")
            if twice := [name for name in layer.outputs if name in shapes]:
                raise ModelError(f"layer '{layer.name}' writes '{twice[0]}' a second time")
            shapes.update(infer(layer, shapes))
        if lost := [name for name in self.outputs if name not in shapes]:
            raise ModelError(f"no layer writes the output '{lost[0]}'")
        object.__setattr__(self, "shapes", shapes)

    @cached_property
    def readers(self) -> Mapping[str, int]:
        """How many times each tensor is read by a layer."""
        counts = dict.fromkeys(self.shapes, 0)
        for layer in self.layers:
            for name in layer.inputs:
                counts[name] += 1
        return counts

    def macs(self, prefix: str = "") -> int:
        """Multiply-accumulates of one picture in the convolutions whose names begin so."""
        return sum(
            layer.weight.size * math.prod(self.shapes[layer.outputs[0]][1:])
            for layer in self.layers
            if isinstance(layer, Conv) and layer.name.startswith(prefix)
        )
