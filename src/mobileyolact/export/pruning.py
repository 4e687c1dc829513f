"""Leaves out channels that are constant: training let them die, and they cost time like others.

A channel of a depthwise convolution whose kernel is next to nothing is its bias everywhere, and
the pointwise convolution behind it can hold in its own bias what that amounts to. ShuffleNetV2 has
such channels from ImageNet, where weight decay drove them to 0.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mobileyolact.export.channels import is_dense, is_depthwise, readers_of
from mobileyolact.export.graph import Activation, Conv, Graph
from mobileyolact.export.quantized import QuantizedConv, QuantizedLayers

# Of what a typical channel does. Nearly all are either below 1e-7 or above 1e-2 of it.
NEGLIGIBLE = 1e-5


@dataclass(frozen=True)
class _Constants:
    """The channels of the convolution ``middle`` that are not in ``keep`` (channels,).

    ``before`` writes what it reads, ``after`` alone read what it writes.
    """

    before: str
    middle: str
    after: tuple[str, ...]
    keep: NDArray[np.bool_]


def without_constants(graph: Graph) -> Graph:
    """``graph`` without those channels of its depthwise convolutions that are constant.

    Outputs are the same but for rounding. Only channels go that lie between a dense convolution
    and pointwise ones, which alone read them and share their kernels with no other. Layers and
    tensors keep their names.
    """
    convs = {layer.name: layer for layer in graph.layers if isinstance(layer, Conv)}
    for found in _find_constants(graph):
        values = _values(convs[found.middle], found)
        for name in found.after:
            convs[name] = _absorb(convs[name], convs[name].weight, values, found)
        _thin_layers(convs, found)
    return _with_convs(graph, convs)


def without_constants_int8(
    graph: Graph, quantized: QuantizedLayers
) -> tuple[Graph, QuantizedLayers]:
    """As ``without_constants``, with the kernels of ``quantized``.

    Codes are the same where biases are added to integers: a constant is worth what its code says,
    so that its products are whole numbers of units of the sum. Those behind a leaky ReLU stay,
    since its input is rounded as well.
    """
    convs = {layer.name: layer for layer in graph.layers if isinstance(layer, Conv)}
    kernels = {**quantized.convs, **quantized.stored}
    for found in _find_constants(graph):
        middle = convs[found.middle]
        if middle.activation is not None and middle.activation.kind == "leaky_relu":
            continue
        values, codes = _values(middle, found), quantized.tensors.get(middle.outputs[0])
        if codes is not None:
            values = np.float64(codes.step) * codes.nearest(values.astype(np.float32))
        for name in found.after:
            kernel = kernels.get(name)
            weight = convs[name].weight if kernel is None else kernel.values
            convs[name] = _absorb(convs[name], weight, values, found)
        _thin_layers(convs, found)
        _thin_kernels(kernels, found)
    integer, stored = (
        {name: kernels[name] for name in part} for part in (quantized.convs, quantized.stored)
    )
    return _with_convs(graph, convs), replace(quantized, convs=integer, stored=stored)


def _find_constants(graph: Graph) -> list[_Constants]:
    owners = Counter(id(layer.weight) for layer in graph.layers if isinstance(layer, Conv))
    writers = {name: layer for layer in graph.layers for name in layer.outputs}
    readers, found = readers_of(graph), list[_Constants]()
    for middle in graph.layers:
        if not isinstance(middle, Conv) or not is_depthwise(middle):
            continue
        (source,), (target,) = middle.inputs, middle.outputs
        before = writers.get(source)
        after = [layer for layer in readers[target] if isinstance(layer, Conv)]
        if (
            not isinstance(before, Conv)
            or not is_dense(before)
            or not {source, target}.isdisjoint(graph.outputs)
            or len(readers[source]) > 1
            or not after
            or len(after) < len(readers[target])
            or not all(is_dense(conv) and conv.weight.shape[2:] == (1, 1) for conv in after)
            or any(owners[id(conv.weight)] > 1 for conv in (before, middle, *after))
        ):
            continue
        keep = _varying(before, middle, after)
        if not keep.all():
            names = tuple(conv.name for conv in after)
            found.append(_Constants(before.name, middle.name, names, keep))
    return found


def _values(middle: Conv, found: _Constants) -> NDArray[np.float64]:
    return _activated(middle.bias[~found.keep], middle.activation)


def _absorb(
    conv: Conv, weight: NDArray[np.float32], values: NDArray[np.float64], found: _Constants
) -> Conv:
    """``conv``, whose kernel is ``weight``, with a bias that holds what constants amount to."""
    rest = weight[:, ~found.keep, 0, 0].astype(np.float64) @ values
    return replace(conv, bias=(conv.bias + rest).astype(np.float32))


def _thin_layers(convs: dict[str, Conv], found: _Constants) -> None:
    keep = found.keep
    for name in (found.before, found.middle):
        conv = convs[name]
        convs[name] = replace(conv, weight=conv.weight[keep], bias=conv.bias[keep])
    convs[found.middle] = replace(convs[found.middle], groups=int(keep.sum()))
    for name in found.after:
        weight = np.ascontiguousarray(convs[name].weight[:, keep])
        convs[name] = replace(convs[name], weight=weight)


def _thin_kernels(kernels: dict[str, QuantizedConv], found: _Constants) -> None:
    keep = found.keep
    for name in (found.before, found.middle):
        if kernel := kernels.get(name):
            steps = kernel.steps[keep]
            kernels[name] = replace(kernel, weight=kernel.weight[keep], steps=steps)
    for name in found.after:
        if kernel := kernels.get(name):
            weight = np.ascontiguousarray(kernel.weight[:, keep])
            kernels[name] = replace(kernel, weight=weight)


def _with_convs(graph: Graph, convs: Mapping[str, Conv]) -> Graph:
    layers = tuple(convs.get(layer.name, layer) for layer in graph.layers)
    return Graph(layers, graph.input_shape, graph.outputs)


def _varying(before: Conv, middle: Conv, after: Sequence[Conv]) -> NDArray[np.bool_]:
    """Which channels of ``middle`` (channels,) do more than ``NEGLIGIBLE`` to what follows."""
    entering = np.abs(before.weight).max((1, 2, 3)) + np.abs(before.bias)
    passing = np.abs(middle.weight).sum((1, 2, 3))
    leaving = np.max([np.abs(conv.weight).max((0, 2, 3)) for conv in after], 0)
    effect = entering.astype(np.float64) * passing * leaving
    keep: NDArray[np.bool_] = effect >= NEGLIGIBLE * np.median(effect)
    return keep


def _activated(values: NDArray[np.float32], activation: Activation | None) -> NDArray[np.float64]:
    exact = values.astype(np.float64)
    if activation is None:
        return exact
    match activation.kind:
        case "relu":
            return np.maximum(exact, 0)
        case "relu6":
            return np.clip(exact, 0, 6)
        case "leaky_relu":
            return np.where(exact < 0, exact * activation.slope, exact)
