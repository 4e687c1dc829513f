"""Leaves out channels that are constant: training let them die, and they cost time like others.

A channel of a depthwise convolution whose kernel is next to nothing is its bias everywhere, and
the pointwise convolution behind it can hold in its own bias what that amounts to. ShuffleNetV2 has
such channels from ImageNet, where weight decay drove them to 0.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobileyolact.export.channels import is_dense, is_depthwise, readers_of
from mobileyolact.export.graph import Activation, Conv, Graph

# Of what a typical channel does. Nearly all are either below 1e-7 or above 1e-2 of it.
NEGLIGIBLE = 1e-5


def without_constants(graph: Graph) -> Graph:
    """``graph`` without those channels of its depthwise convolutions that are constant.

    Outputs are the same but for rounding. Only channels go that lie between a dense convolution
    and pointwise ones, which alone read them and share their kernels with no other. Layers and
    tensors keep their names.
    """
    owners = Counter(id(layer.weight) for layer in graph.layers if isinstance(layer, Conv))
    writers = {name: layer for layer in graph.layers for name in layer.outputs}
    readers = readers_of(graph)
    convs = {layer.name: layer for layer in graph.layers if isinstance(layer, Conv)}
    for name in list(convs):
        middle = convs[name]
        if not is_depthwise(middle):
            continue
        (source,), (target,) = middle.inputs, middle.outputs
        before = convs.get(writers[source].name) if source in writers else None
        after = [convs[layer.name] for layer in readers[target] if layer.name in convs]
        if (
            before is None
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
        constants = _activated(middle.bias[~keep], middle.activation)
        thinner = {
            before.name: replace(before, weight=before.weight[keep], bias=before.bias[keep]),
            name: replace(
                middle, weight=middle.weight[keep], bias=middle.bias[keep], groups=int(keep.sum())
            ),
        }
        for conv in after:
            rest = conv.weight[:, ~keep, 0, 0].astype(np.float64) @ constants
            thinner[conv.name] = replace(
                conv,
                weight=np.ascontiguousarray(conv.weight[:, keep]),
                bias=(conv.bias + rest).astype(np.float32),
            )
        if not keep.all():
            convs.update(thinner)
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
