"""Which convolutions are products of two matrices of integers, with float32 results.

The last convolutions read codes and write the outputs. As convolutions an engine computes them in
float32, and moves the values to and fro for it; as products it multiplies the codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from mobileyolact.export.graph import Concat, Conv, Flatten, Graph, Layer, Pads, Transpose
from mobileyolact.export.quantized import QuantizedLayers


@dataclass(frozen=True)
class Products:
    """Convolutions by the name of the layer that writes their results for others.

    It is the convolution itself, (channels, height, width), or the Transpose that gives the
    locations of several of them, (locations, channels). ``inside`` names what lies before that
    Transpose: the convolutions and the layers that flatten and join.
    """

    results: Mapping[str, tuple[Conv, ...]]
    inside: frozenset[str]


def find_products(graph: Graph, quantized: QuantizedLayers) -> Products:
    """The convolutions of ``graph`` that can be products, and how their results are joined."""
    writers = {name: layer for layer in graph.layers for name in layer.outputs}
    results, inside = dict[str, tuple[Conv, ...]](), set[str]()
    for layer in graph.layers:
        if _is_product(layer, quantized) and not graph.readers[layer.outputs[0]]:
            results[layer.name] = (layer,)
        if not isinstance(layer, Transpose):
            continue
        joined = writers[layer.inputs[0]]
        parts = joined.inputs if isinstance(joined, Concat) else layer.inputs
        flat = [writers[name] for name in parts]
        sources = [writers.get(part.inputs[0]) for part in flat if isinstance(part, Flatten)]
        convs = tuple(conv for conv in sources if _is_product(conv, quantized))
        passed = {joined, *flat, *convs}
        if len(convs) == len(flat) and all(graph.readers[x.outputs[0]] == 1 for x in passed):
            results[layer.name] = convs
            inside |= {x.name for x in passed}
    return Products(results, frozenset(inside))


def _is_product(layer: Layer | None, quantized: QuantizedLayers) -> TypeGuard[Conv]:
    """Whether ``layer`` is a pointwise convolution of codes, with float results, and no more."""
    return (
        isinstance(layer, Conv)
        and layer.name in quantized.stored
        and layer.inputs[0] in quantized.tensors
        and layer.outputs[0] not in quantized.tensors
        and layer.weight.shape[2:] == (1, 1)
        and (layer.stride, layer.groups, layer.pads) == (1, 1, Pads(0, 0, 0, 0))
        and layer.activation is None
    )
