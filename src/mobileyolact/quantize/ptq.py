"""Post-training quantization: from ranges of tensors to ``QuantizedLayers``."""

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np

from mobileyolact.contract import Quantization
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.half import stored
from mobileyolact.export.quantized import (
    HIGH,
    LOW,
    Codes,
    QuantizedConv,
    QuantizedLayers,
    integer_kernel,
    least_steps,
    quantize_kernel,
)
from mobileyolact.quantize.sharing import shared_steps

Ranges = Mapping[str, tuple[float, float]]


def quantize_layers(
    graph: Graph, convs: Collection[str], ranges: Ranges, summary: Quantization
) -> QuantizedLayers:
    """Steps of all tensors that are codes, integer kernels of ``convs``, and what is stored.

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
    return QuantizedLayers(tensors, kernels, summary, _stored_kernels(graph, convs, tensors))


def _stored_kernels(
    graph: Graph, convs: Collection[str], tensors: Mapping[str, Codes]
) -> dict[str, QuantizedConv]:
    """Kernels that multiply codes, or are large; one for all layers that share their weights."""
    sharing = defaultdict(list)
    for layer in graph.layers:
        if isinstance(layer, Conv) and layer.name not in convs:
            sharing[id(layer.weight)].append(layer)
    found: dict[str, QuantizedConv] = {}
    for layers in sharing.values():
        weight = layers[0].weight
        coded = [(layer, tensors[n]) for layer in layers if (n := layer.inputs[0]) in tensors]
        if not coded and stored(weight).dtype == np.float32:
            continue
        limit = min((source.weight_limit for _, source in coded), default=HIGH)
        least = np.zeros(len(weight), np.float32)
        for layer, source in coded:
            least = np.maximum(least, least_steps(layer, source))
        kernel = quantize_kernel(weight, limit, least)
        found.update(dict.fromkeys((layer.name for layer in layers), kernel))
    return found


def codes_for(low: float, high: float) -> Codes:
    """Codes for values from ``low`` (0 or less) to ``high`` (0 or more), 0 being code 0.

    Codes that reach as far below 0 as above it are all that bytes can be, one more than needed:
    then bytes are cut off where codes are.
    """
    step = np.float32(max(high, -low) / HIGH) or np.float32(1)
    least = int(np.floor(low / step))
    return Codes(float(step), least if least > -HIGH else LOW)
