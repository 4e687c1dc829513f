"""Equalization: channels of one tensor brought to like sizes, before a common step rounds them.

A convolution may write a channel twice as large if all that read it weigh it half: the network
computes the same, as long as what lies between keeps factors above 0. Cross-layer equalization
(arXiv:1906.04721, section 4.1) with the measure of SmoothQuant (arXiv:2211.10438, equation 4).
"""

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mobileyolact.contract import ModelContract
from mobileyolact.export.channels import is_dense, is_depthwise
from mobileyolact.export.graph import Conv, Graph, Layer, MaxPool
from mobileyolact.export.trace import Origin, trace_origins
from mobileyolact.model.network import MobileYolact
from mobileyolact.quantize.calibrate import look
from mobileyolact.quantize.observe import finite_range

_LARGEST_FACTOR = 32.0
_PICTURES = 16  # a mean of so many maxima says enough of a channel's size


def equalized(
    network: MobileYolact, contract: ModelContract, pictures: Sequence[Path]
) -> MobileYolact:
    """A copy of ``network`` that computes the same, with channels of like sizes on ``pictures``.

    Raises:
        MobileYolactError: as ``calibrate.observe``.
    """
    network = copy.deepcopy(network)
    graph, origins = trace_origins(network, (3, *contract.input_size))
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)

    def see(name: str, value: Tensor) -> Tensor:
        finite_range(name, value)
        if value.ndim == 4:
            found[name].append(value.abs().amax((0, 2, 3)).double().numpy())
        return value

    look(graph, contract, pictures, _PICTURES, see)
    equalize(graph, origins, {name: np.mean(sizes, 0) for name, sizes in found.items()})
    return network


def equalize(
    graph: Graph, origins: Mapping[str, Origin], largest: Mapping[str, NDArray[np.float64]]
) -> int:
    """Rescale channels in the network that ``graph`` was traced from, in place.

    A tensor is taken if one convolution writes it and convolutions alone read it, at most through
    max pooling, and if the convolutions share their weights with no other place.

    Args:
        graph: as traced; it keeps the old weights, so trace again.
        origins: the modules of each convolution of ``graph``.
        largest: the greatest absolute value of each channel (C,) of tensors on typical pictures.

    Returns:
        How many tensors were rescaled.
    """
    uses: dict[int, int] = {}
    for origin in origins.values():
        uses[id(origin.conv)] = uses.get(id(origin.conv), 0) + 1
    count = 0
    for writer, readers in _pairs(graph):
        names = [writer.name, *(reader.name for reader in readers)]
        if any(uses[id(origins[name].conv)] > 1 for name in names):
            continue
        factors = _factors(largest[writer.outputs[0]], readers)
        _rescale(torch.from_numpy(factors).float(), origins, writer, readers)
        count += 1
    return count


def _pairs(graph: Graph) -> Iterator[tuple[Conv, list[Conv]]]:
    """Convolutions whose output only convolutions read, dense or depthwise ones, and these."""
    for layer in graph.layers:
        if not isinstance(layer, Conv) or (layer.activation and layer.activation.kind == "relu6"):
            continue
        readers = list(_readers(graph, layer.outputs[0]))
        convs = [
            reader
            for reader in readers
            if isinstance(reader, Conv) and (is_dense(reader) or is_depthwise(reader))
        ]
        if readers and len(convs) == len(readers) and layer.outputs[0] not in graph.outputs:
            yield layer, convs


def _readers(graph: Graph, name: str) -> Iterator[Layer]:
    for layer in graph.layers:
        if name in layer.inputs:
            if isinstance(layer, MaxPool):
                yield from _readers(graph, layer.outputs[0])
            else:
                yield layer


def _factors(largest: NDArray[np.float64], readers: list[Conv]) -> NDArray[np.float64]:
    """What each channel is multiplied by; its readers are divided by it.

    The readers' kernels are rounded too: where one step serves several input channels, theirs
    should end up alike as well, and the factor is the geometric middle of both wishes. A depthwise
    kernel has a step for each channel and wishes nothing.
    """
    wish = 1 / np.maximum(largest, largest.max() * 1e-3 + 1e-12)
    dense = [reader for reader in readers if reader.groups == 1]
    if dense:
        weights = np.max([np.abs(r.weight).max((0, 2, 3)) for r in dense], 0).astype(np.float64)
        wish = np.sqrt(wish * np.maximum(weights, weights.max() * 1e-3 + 1e-12))
    middle = np.exp(np.log(wish).mean())
    factors: NDArray[np.float64] = np.clip(wish / middle, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
    return factors


@torch.no_grad()
def _rescale(
    factors: Tensor, origins: Mapping[str, Origin], writer: Conv, readers: list[Conv]
) -> None:
    origin = origins[writer.name]
    last: nn.Module = origin.conv if origin.norm is None else origin.norm
    assert isinstance(last, nn.Conv2d | nn.BatchNorm2d)
    shape = (-1,) + (1,) * (last.weight.ndim - 1)
    last.weight.mul_(factors.view(shape))
    if last.bias is not None:
        last.bias.mul_(factors)
    for reader in readers:
        weight = origins[reader.name].conv.weight
        weight.div_(factors.view((-1, 1, 1, 1) if reader.groups > 1 else (1, -1, 1, 1)))
