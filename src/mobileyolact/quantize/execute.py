"""Runs a graph in PyTorch, tensor by tensor, so that ranges are seen and rounding is tried."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileyolact.export.graph import INPUT_NAME, Conv, Graph
from mobileyolact.export.torch_layers import activate, compute, convolve

Weights = Callable[[Conv], tuple[Tensor, Tensor]]
Touch = Callable[[str, Tensor], Tensor]


def stored_weights(graph: Graph) -> Weights:
    """Kernel and bias of each convolution as the graph holds them."""
    tensors = {
        layer.name: (_kernel(layer.weight), torch.from_numpy(layer.bias))
        for layer in graph.layers
        if isinstance(layer, Conv)
    }
    return lambda layer: tensors[layer.name]


def execute(
    graph: Graph, images: Tensor, weights: Weights, touch: Touch | None = None
) -> tuple[Tensor, ...]:
    """The outputs of ``graph``, in its order, for images (B, 3, H, W) float32.

    Args:
        weights: gives kernel and bias of a convolution.
        touch: called with the name and value of every tensor, the image first, as soon as it is
            there; what it returns is what the layers behind read.
    """
    left = dict(graph.readers)
    for name in graph.outputs:
        left[name] += 1
    tensors: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        tensors[name] = value if touch is None else touch(name, value)

    keep(INPUT_NAME, images.contiguous(memory_format=torch.channels_last))
    for layer in graph.layers:
        inputs = [tensors[name] for name in layer.inputs]
        if isinstance(layer, Conv):
            kernel, bias = weights(layer)
            value = convolve(layer, inputs[0], kernel, bias)
            if layer.activation is not None:
                value = activate(value, layer.activation)
            outputs: tuple[Tensor, ...] = (value,)
        else:
            outputs = compute(layer, inputs)
        for name, value in zip(layer.outputs, outputs, strict=True):
            keep(name, value)
        for name in layer.inputs:
            left[name] -= 1
            if not left[name]:
                del tensors[name]
    return tuple(tensors[name] for name in graph.outputs)


def _kernel(weight: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(weight).contiguous(memory_format=torch.channels_last)
