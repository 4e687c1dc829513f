"""Kernels rounded weight by weight, each making up for the errors of those before it.

What a kernel gives depends on how its inputs go together: where two of them rise and fall alike, an
error in the weight of one is undone by the weight of the other. The algorithm is that of GPTQ
(arXiv:2210.17323, algorithm 1) with the weights of the loudest inputs first.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mobileyolact.contract import ModelContract
from mobileyolact.export.channels import readers_of
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.quantized import QuantizedConv, QuantizedLayers
from mobileyolact.quantize.calibrate import look

# What the inputs of each convolution are together, by its name: sums of products (groups, n, n) of
# every two of the n = in / groups * kernel_h * kernel_w numbers that one output is made of.
Grams = Mapping[str, NDArray[np.float64]]

_PICTURES = 16  # each gives thousands of positions
_DAMPING = 0.01  # of the mean of the diagonal


def gather_grams(graph: Graph, contract: ModelContract, pictures: Sequence[Path]) -> Grams:
    """The Gram matrix of the inputs of each convolution on ``pictures``, in float.

    Raises:
        MobileYolactError: as ``calibrate.observe``.
    """
    readers = readers_of(graph)
    grams: dict[str, NDArray[np.float64]] = {}

    def see(name: str, value: Tensor) -> Tensor:
        for layer in readers[name]:
            if isinstance(layer, Conv):
                columns = _columns(layer, value)
                gram = (columns @ columns.mT).double().numpy()
                grams[layer.name] = grams.get(layer.name, 0) + gram
        return value

    look(graph, contract, pictures, _PICTURES, see)
    return grams


def rounded_together(
    graph: Graph, record: QuantizedLayers, grams: Grams, names: Collection[str]
) -> QuantizedLayers:
    """``record`` with other codes in its kernels, whose sums are nearer to those of ``graph``.

    Args:
        graph: the float layers.
        record: kernels rounded to the nearest code.
        grams: of ``gather_grams``.
        names: of the convolutions whose kernels are rounded anew.
    """
    before = {**record.convs, **record.stored}
    sharing = defaultdict(list)
    for layer in graph.layers:
        if isinstance(layer, Conv) and layer.name in before and layer.name in names:
            sharing[id(before[layer.name])].append(layer)
    after: dict[str, QuantizedConv] = {}
    for layers in sharing.values():
        first = layers[0]
        limit = min(record.limit_of(layer) for layer in layers)
        gram = np.sum([grams[layer.name] for layer in layers], axis=0)
        kernel = _round(first, before[first.name], limit, gram)
        after.update(dict.fromkeys((layer.name for layer in layers), kernel))
    convs, stored = (
        {name: after.get(name, kernel) for name, kernel in part.items()}
        for part in (record.convs, record.stored)
    )
    return replace(record, convs=convs, stored=stored)


def _round(
    layer: Conv, nearest: QuantizedConv, limit: int, gram: NDArray[np.float64]
) -> QuantizedConv:
    """The kernel of ``layer`` at the steps of ``nearest``, in codes within +-``limit``."""
    groups, count, _ = gram.shape
    loudness = np.diagonal(gram, axis1=1, axis2=2)
    order = np.argsort(-loudness, axis=1, kind="stable")
    columns = order[:, None, :]
    ordered = np.take_along_axis(np.take_along_axis(gram, order[:, :, None], 1), columns, 2)
    damping = _DAMPING * loudness.mean(1) + np.finfo(np.float32).tiny
    inverse = np.linalg.inv(ordered + damping[:, None, None] * np.eye(count))
    factor = np.linalg.cholesky(inverse).swapaxes(1, 2)

    weight = layer.weight.reshape(groups, -1, count).astype(np.float64)
    steps = nearest.steps.reshape(groups, -1).astype(np.float64)
    left = np.take_along_axis(weight, columns, 2)
    codes = np.empty_like(left)
    for i in range(count):
        codes[..., i] = np.clip(np.rint(left[..., i] / steps), -limit, limit)
        error = (left[..., i] - codes[..., i] * steps) / factor[:, i, i, None]
        left[..., i + 1 :] -= error[..., None] * factor[:, None, i, i + 1 :]
    codes = np.take_along_axis(codes, np.argsort(columns, axis=2), 2)
    return replace(nearest, weight=codes.reshape(layer.weight.shape).astype(np.int8))


def _columns(layer: Conv, x: Tensor) -> Tensor:
    """What each output of ``layer`` on ``x`` (1, in, h, w) is made of: (groups, n, positions)."""
    pads, size = layer.pads, layer.weight.shape[2:]
    if size == (1, 1):
        columns = x[:, :, :: layer.stride, :: layer.stride]
    else:
        padded = functional.pad(x, (pads.left, pads.right, pads.top, pads.bottom))
        columns = functional.unfold(padded, size, stride=layer.stride)
    return columns.reshape(layer.groups, layer.weight[0].size, -1)
