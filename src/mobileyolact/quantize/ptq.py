"""Post-training quantization: from ranges of tensors to ``QuantizedLayers``."""

from collections.abc import Collection, Mapping

import numpy as np

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import (
    HIGH,
    Codes,
    QuantizedLayers,
    integer_kernel,
)
from mobileyolact.quantize.sharing import shared_steps

Ranges = Mapping[str, tuple[float, float]]


def quantize_layers(
    graph: Graph, convs: Collection[str], ranges: Ranges, summary: Quantization
) -> QuantizedLayers:
    """Steps of all tensors that are codes, and integer kernels of ``convs``.

    Args:
        graph: the layers, with the weights that are rounded.
        convs: names of the convolutions that are computed with integers.
        ranges: least and greatest value of every tensor.
        summary: what the contract will say.
    """
    tensors: dict[str, Codes] = {}
    for group in shared_steps(graph, convs):
        low = min(0.0, *(ranges[name][0] for name in group))
        high = max(0.0, *(ranges[name][1] for name in group))
        tensors.update(dict.fromkeys(group, codes_for(low, high)))
    kernels = {
        layer.name: integer_kernel(layer, tensors[layer.inputs[0]])
        for layer in graph.layers
        if isinstance(layer, Conv) and layer.name in convs
    }
    return QuantizedLayers(tensors, kernels, summary)


def codes_for(low: float, high: float) -> Codes:
    """Codes for values from ``low`` (0 or less) to ``high`` (0 or more), 0 being code 0."""
    step = np.float32(max(high, -low) / HIGH) or np.float32(1)
    return Codes(float(step), max(-HIGH, int(np.floor(low / step))))
