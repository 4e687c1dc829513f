"""Leaves out channels that are 0 everywhere, as pruning leaves them.

Who prunes sets kernel, scale and shift of a channel to 0, and training keeps them so. Nothing is
lost with such a channel, so that outputs and codes stay what they are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileyolact.export.channels import is_dense, is_depthwise
from mobileyolact.export.graph import Add, Conv, Graph, Layer, MaxPool, Resize, ResizeTo
from mobileyolact.export.quantized import QuantizedConv, QuantizedLayers

_Kernel = NDArray[Any]
_Channels = dict[str, NDArray[np.bool_]]  # of each tensor (channels,)


def without_zeros(graph: Graph) -> Graph:
    """``graph`` without channels that are 0 everywhere, where all that read them are convolutions.

    So are those that are added to others that are 0. Layers and tensors keep their names.
    """
    return _cut(graph, {}, _kept(graph, {}))[0]


def without_zeros_int8(graph: Graph, quantized: QuantizedLayers) -> tuple[Graph, QuantizedLayers]:
    """As ``without_zeros``, with the kernels of ``quantized``; codes are the same."""
    before = {**quantized.convs, **quantized.stored}
    graph, after = _cut(graph, before, _kept(graph, before))
    integer, stored = ({n: after[n] for n in part} for part in (quantized.convs, quantized.stored))
    return graph, replace(quantized, convs=integer, stored=stored)


def _kept(graph: Graph, kernels: Mapping[str, QuantizedConv]) -> _Channels:
    """Which channels of each tensor are not left out; never none."""
    owners = Counter(id(layer.weight) for layer in graph.layers if isinstance(layer, Conv))
    kept: _Channels = {name: np.ones(shape[0], bool) for name, shape in graph.shapes.items()}
    tied, bound = list[Layer](), list[Layer]()
    for layer in graph.layers:
        if isinstance(layer, Conv) and owners[id(layer.weight)] == 1:
            kernel = kernels[layer.name].weight if layer.name in kernels else layer.weight
            used = _used(layer, kernel, kept[layer.inputs[0]])
            free = is_dense(layer)
        elif isinstance(layer, Add | MaxPool | Resize | ResizeTo):
            used, free = np.any([kept[name] for name in layer.inputs], 0), False
        else:
            bound.append(layer)
            continue
        if not free:
            tied.append(layer)
        kept[layer.outputs[0]] = used if used.any() else ~used
    for name in {*graph.outputs, *_tensors(bound)}:
        kept[name] = np.ones_like(kept[name])
    _agree(tied, kept)
    return kept


def _used(layer: Conv, kernel: _Kernel, source: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which channels of the output of ``layer`` are not 0, with those of its input."""
    used: NDArray[np.bool_]
    if is_dense(layer):
        used = (kernel[:, source] != 0).any((1, 2, 3))
    else:
        used = (kernel != 0).any((1, 2, 3))
        if is_depthwise(layer):
            used = used & source
    return used | (layer.bias != 0)


def _agree(layers: Sequence[Layer], kept: _Channels) -> None:
    """Let each of ``layers``, whose channels lie side by side, keep them all the way through."""
    before = -1
    while (count := sum(int(kept[name].sum()) for name in _tensors(layers))) > before:
        before = count
        for layer in layers:
            names = (*layer.inputs, *layer.outputs)
            together: NDArray[np.bool_] = np.any([kept[name] for name in names], 0)
            kept.update(dict.fromkeys(names, together))


def _tensors(layers: Sequence[Layer]) -> set[str]:
    return {name for layer in layers for name in (*layer.inputs, *layer.outputs)}


def _cut(
    graph: Graph, kernels: Mapping[str, QuantizedConv], kept: _Channels
) -> tuple[Graph, dict[str, QuantizedConv]]:
    layers, after = list[Layer](), dict(kernels)
    for layer in graph.layers:
        if isinstance(layer, Conv):
            source, target = kept[layer.inputs[0]], kept[layer.outputs[0]]
            if not source.all() or not target.all():
                if kernel := kernels.get(layer.name):
                    weight = _part(layer, kernel.weight, source, target)
                    after[layer.name] = replace(kernel, weight=weight, steps=kernel.steps[target])
                layer = replace(
                    layer,
                    weight=_part(layer, layer.weight, source, target),
                    bias=layer.bias[target],
                    groups=int(target.sum()) if is_depthwise(layer) else layer.groups,
                )
        layers.append(layer)
    return Graph(tuple(layers), graph.input_shape, graph.outputs), after


def _part(
    layer: Conv, kernel: _Kernel, source: NDArray[np.bool_], target: NDArray[np.bool_]
) -> _Kernel:
    part = kernel[target]
    return np.ascontiguousarray(part[:, source]) if is_dense(layer) else part
