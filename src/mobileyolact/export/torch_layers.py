"""The layers of a graph in PyTorch, with a batch of any size in front."""

import torch
from torch import Tensor
from torch.nn import functional

from mobileyolact.export.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Flatten,
    Layer,
    MaxPool,
    Pads,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
    Transpose,
    Ungroup,
)


def convolve(layer: Conv, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of ``layer`` with a kernel and bias given, before its activation."""
    pads = layer.pads
    padding = (max(pads.top, pads.bottom), max(pads.left, pads.right))
    if pads != Pads(padding[1], padding[1], padding[0], padding[0]):
        # To pad the picture takes PyTorch longer than to convolve it with zeros in the kernel.
        left, right = padding[1] - pads.left, padding[1] - pads.right
        top, bottom = padding[0] - pads.top, padding[0] - pads.bottom
        weight = functional.pad(weight, (left, right, top, bottom))
    return functional.conv2d(x, weight, bias, layer.stride, padding, groups=layer.groups)


def activate(x: Tensor, activation: Activation, inplace: bool = False) -> Tensor:
    """What follows a convolution."""
    match activation.kind:
        case "relu":
            return functional.relu(x, inplace=inplace)
        case "relu6":
            return functional.relu6(x, inplace=inplace)
        case "leaky_relu":
            return functional.leaky_relu(x, activation.slope, inplace=inplace)


def compute(layer: Layer, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of a layer that is no convolution."""
    x = inputs[0]
    match layer:
        case MaxPool():
            return (functional.max_pool2d(x, layer.kernel, layer.stride, layer.padding),)
        case Split():
            return x.split(layer.sizes, 1) if layer.sizes else x.chunk(len(layer.outputs), 1)
        case Concat():
            return (torch.cat(inputs, layer.axis + 1),)
        case Shuffle():
            return (functional.channel_shuffle(x, layer.groups),)
        case Resize():
            return (functional.interpolate(x, scale_factor=layer.scale, mode=layer.mode),)
        case ResizeTo():
            return (functional.interpolate(x, layer.size, mode="bilinear"),)
        case Add():
            return (x + inputs[1],)
        case Flatten():
            return (x.flatten(2),)
        case Transpose():
            return (x.transpose(1, 2),)
        case Ungroup():
            return (x.unflatten(2, (-1, layer.values)).flatten(1, 2),)
        case _:
            raise TypeError(f"no PyTorch form of {type(layer).__name__}")
