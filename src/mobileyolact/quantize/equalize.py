"""Equalization: channels of one tensor brought to like sizes, before a common step rounds them.

A convolution may write a channel twice as large if all that read it weigh it half: the network
computes the same, as long as what lies between keeps factors above 0. Cross-layer equalization
(arXiv:1906.04721, section 4.1) with the measure of SmoothQuant (arXiv:2211.10438, equation 4),
carried through whatever moves, pools, enlarges or adds channels on their way.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mobileyolact.contract import ModelContract
from mobileyolact.export.channels import is_dense, is_depthwise, is_mover, trace_channels
from mobileyolact.export.graph import (
    INPUT_NAME,
    Add,
    Conv,
    Graph,
    Layer,
    MaxPool,
    Resize,
    ResizeTo,
)
from mobileyolact.export.trace import Origin, trace_origins
from mobileyolact.model.network import MobileYolact
from mobileyolact.quantize.calibrate import look
from mobileyolact.quantize.observe import finite_range

_LARGEST_FACTOR = 32.0
_SMALLEST_SHARE = 1e-3  # of the largest channel, below which all are alike
_PICTURES = 16  # a mean of so many maxima says enough of a channel's size
_BELOW = 0.5  # what a sum's reach below 0 counts next to what comes out of its leaky ReLU

# The number of each channel's family, by tensor: channels of one family keep one factor.
Families = Mapping[str, NDArray[np.intp]]


def equalized(
    network: MobileYolact,
    contract: ModelContract,
    pictures: Sequence[Path],
    by_sums: bool = True,
) -> MobileYolact:
    """A copy of ``network`` that computes the same, with channels of like sizes on ``pictures``.

    Args:
        network: what is copied.
        contract: of the network.
        pictures: as for ``calibrate.observe``.
        by_sums: count what reaches far below 0 in front of a leaky ReLU too, which is rounded as
            well. Training with rounding starts nearer to float from there, but gets less far.

    Raises:
        MobileYolactError: as ``calibrate.observe``.
    """
    network = copy.deepcopy(network)
    graph, origins = trace_origins(network, (3, *contract.input_size))
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)

    slopes = {
        layer.outputs[0]: layer.activation.slope
        for layer in graph.layers
        if isinstance(layer, Conv) and layer.activation and layer.activation.kind == "leaky_relu"
    }

    def see(name: str, value: Tensor) -> Tensor:
        finite_range(name, value)
        if value.ndim == 4:
            below = max(1.0, _BELOW / slopes.get(name, 1.0)) if by_sums else 1.0
            sizes = torch.maximum(value, -below * value).amax((0, 2, 3))
            found[name].append(sizes.double().numpy())
        return value

    look(graph, contract, pictures, _PICTURES, see)
    equalize(graph, origins, {name: np.mean(sizes, 0) for name, sizes in found.items()})
    return network


def equalize(
    graph: Graph, origins: Mapping[str, Origin], largest: Mapping[str, NDArray[np.float64]]
) -> None:
    """Rescale channels in the network that ``graph`` was traced from, in place.

    Channels stay as they are if they are part of an output, if a ReLU6 cuts them off, if a
    convolution writes or reads them that shares its weights with another place, or if anything
    else reads them than dense and depthwise convolutions, at most behind layers without weights.

    Args:
        graph: as traced; it keeps the old weights, so trace again.
        origins: the modules of each convolution of ``graph``.
        largest: the size of each channel (C,) of tensors: the greatest absolute value on typical
            pictures.
    """
    families = _families(graph)
    factors = _factors(graph, families, largest)
    uses = Counter(id(origin.conv) for origin in origins.values())
    shared = {name for name, origin in origins.items() if uses[id(origin.conv)] > 1}
    factors[_fixed(graph, families, shared)] = 1
    for layer in graph.layers:
        if isinstance(layer, Conv):
            source, target = (factors[families[t]] for t in (layer.inputs[0], layer.outputs[0]))
            _rescale(layer, origins[layer.name], source, target)


def _families(graph: Graph) -> Families:
    sources = trace_channels(graph)
    numbers: dict[tuple[str, int], int] = {}
    for channel in (channel for channels in sources.values() for channel in channels):
        numbers.setdefault(channel, len(numbers))
    places = {name: np.array([numbers[c] for c in channels]) for name, channels in sources.items()}
    family = np.arange(len(numbers))
    for layer in graph.layers:
        if _keeps_factors(layer):
            for name in layer.inputs:
                for pair in zip(places[name], places[layer.outputs[0]], strict=True):
                    _unite(family, np.array(pair))
    return {name: family[place] for name, place in places.items()}


def _keeps_factors(layer: Layer) -> bool:
    """Whether channels that are scaled before ``layer`` come out of it scaled alike."""
    return isinstance(layer, Add | MaxPool | Resize | ResizeTo)


def _unite(numbers: NDArray[np.intp], members: NDArray[np.intp]) -> None:
    """Give everything that has the number of one of ``members`` the same one, in place."""
    numbers[np.isin(numbers, numbers[members])] = numbers[members[0]]


def _factors(
    graph: Graph, families: Families, largest: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What the channels of each family are multiplied by, as if all could be.

    Of two wishes it is the geometric middle: that channels are equally large, so that each makes
    use of all codes, and that rounding an equally large part of each does equal harm, as far as
    their readers' weights say. The factors of channels that meet in one tensor have the mean 1.
    """
    count = 1 + max(int(numbers.max()) for numbers in families.values())
    size, harm = np.zeros(count), np.zeros(count)
    tied = np.arange(count)
    for name, numbers in families.items():
        floor = largest[name].max() * _SMALLEST_SHARE
        np.maximum.at(size, numbers, np.maximum(largest[name], floor))
        _unite(tied, numbers)
    for layer in graph.layers:
        if isinstance(layer, Conv) and (is_dense(layer) or is_depthwise(layer)):
            axes = (0, 2, 3) if is_dense(layer) else (1, 2, 3)
            energy = (layer.weight.astype(np.float64) ** 2).sum(axes)
            np.add.at(harm, families[layer.inputs[0]], energy)
    factors = np.ones(count)
    for group in np.unique(tied):
        members = (tied == group) & (size > 0)
        if members.any() and harm[members].any():
            least = harm[members].max() * _SMALLEST_SHARE**2
            wish = np.log(np.maximum(harm[members], least)) / 4 - np.log(size[members]) / 2
            factors[members] = np.exp(wish - wish.mean())
    return np.clip(factors, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR)


def _fixed(graph: Graph, families: Families, shared: set[str]) -> NDArray[np.intp]:
    """The families whose channels have to stay as large as they are."""
    names = {INPUT_NAME, *graph.outputs}
    for layer in graph.layers:
        if isinstance(layer, Conv):
            follows = (is_dense(layer) or is_depthwise(layer)) and layer.name not in shared
            if not follows:
                names.update(layer.inputs)
            if not follows or (layer.activation and layer.activation.kind == "relu6"):
                names.update(layer.outputs)
        elif not _keeps_factors(layer) and not is_mover(layer, graph.shapes):
            names.update(layer.inputs)
    return np.concatenate([families[name] for name in names & families.keys()])


@torch.no_grad()
def _rescale(
    layer: Conv, origin: Origin, source: NDArray[np.float64], target: NDArray[np.float64]
) -> None:
    """Let a convolution read channels scaled by ``source`` and write them scaled by ``target``."""
    read, written = (torch.from_numpy(factors).float() for factors in (source, target))
    last: nn.Module = origin.conv if origin.norm is None else origin.norm
    assert isinstance(last, nn.Conv2d | nn.BatchNorm2d)
    last.weight.mul_(written.view((-1,) + (1,) * (last.weight.ndim - 1)))
    if last.bias is not None:
        last.bias.mul_(written)
    if is_dense(layer) or is_depthwise(layer):
        shape = (1, -1, 1, 1) if is_dense(layer) else (-1, 1, 1, 1)
        origin.conv.weight.div_(read.view(shape))
