"""Prune the mask branch of an `n-416` checkpoint, and the neck where it is large.

    python research/prune.py CHECKPOINT LABELS OUTPUT

Some depthwise kernels go from 5x5 to 3x3, and the prototypes and the coefficients of stride 8 from
64 and 96 channels to fewer. What is left is fitted by least squares to what all of it did on every
sixth picture of LABELS: a kernel's middle to its outputs, and a pointwise convolution, which reads
fewer channels, to its own. Which channels stay is found by leaving out, one after the other, the
one that is missed the least (as in ThiNet, arXiv:1707.06342). All else is set to 0, which training
keeps and files leave out.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobileyolact.contract import ModelContract
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.kernels import without_rings
from mobileyolact.model.layers import ConvNorm
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.weights import load_checkpoint, save_checkpoint
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

EVERY = 6  # pictures
KERNELS = (
    "prototypes.refine.dw",
    "prototypes.context.0.dw",
    "prototypes.context.1.dw",
    "neck.top_down.0.shortcut.dw",
    "neck.top_down.1.shortcut.dw",
    "head.levels.0.mask_tower.dw",
    "head.levels.1.mask_tower.dw",
)
# Who reads channels, how many of them stay, and who writes them.
CHANNELS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    (
        "prototypes.refine.pw",
        48,
        ("prototypes.context.1.pw", "prototypes.detail", "prototypes.refine.dw"),
    ),
    ("prototypes.out", 32, ("prototypes.refine.pw",)),
    ("head.levels.0.coefficients", 48, ("head.levels.0.mask_tower.pw",)),
)

Grams = dict[str, Tensor]  # sums of products of what layers read, and of 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    network, contract = load_checkpoint(options.checkpoint)
    pictures = [r.path for r in read_labels(options.labels).records][::EVERY]
    layers = {name: network.get_submodule(name) for name in (*KERNELS, *(c[0] for c in CHANNELS))}
    with torch.inference_mode():
        grams = look(network, contract, pictures, {n: layers[n] for n in KERNELS}, windows)
        for name in KERNELS:
            shrink(layers[name], grams[name])
        grams = look(network, contract, pictures, {c[0]: layers[c[0]] for c in CHANNELS}, cells)
        for name, count, writers in CHANNELS:
            kept = thin(layers[name], grams[name], count)
            for writer in writers:
                empty(network.get_submodule(writer), ~kept)
    save_checkpoint(options.output, network, contract, half=True)


def look(
    network: MobileYolact,
    contract: ModelContract,
    pictures: list[Path],
    layers: Mapping[str, nn.Module],
    columns: Callable[[nn.Conv2d, Tensor], Tensor],
) -> Grams:
    """Let the network see ``pictures`` and gather what ``layers`` read, as ``columns`` lays it."""
    grams: Grams = {}

    @contextmanager
    def watched(name: str, conv: nn.Conv2d) -> Iterator[None]:
        def see(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
            read = columns(conv, inputs[0])
            read = torch.cat([read, torch.ones_like(read[..., :1, :])], -2).double()
            grams[name] = grams.get(name, 0) + read @ read.mT

        handle = conv.register_forward_hook(see)
        yield
        handle.remove()

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(watched(name, convolution(layer)))
        for picture in pictures:
            network.eval()(torch.from_numpy(preprocess(open_image(picture), contract)[0]))
    return grams


def windows(conv: nn.Conv2d, inputs: Tensor) -> Tensor:
    """What a depthwise kernel reads: (channels, cells of the kernel, places)."""
    unfolded = functional.unfold(inputs, conv.kernel_size, padding=conv.padding, stride=conv.stride)
    return unfolded.view(inputs.shape[1], conv.weight[0].numel(), -1)


def cells(conv: nn.Conv2d, inputs: Tensor) -> Tensor:
    """What a pointwise kernel reads: (channels, places)."""
    return inputs[0].flatten(1)


def shrink(layer: nn.Module, gram: Tensor) -> None:
    """Fit the middle 3x3 of a depthwise kernel to the outputs of the whole."""
    conv = convolution(layer)
    inside = torch.zeros_like(conv.weight[:1], dtype=torch.bool)
    without_rings(inside, 1).fill_(True)
    kernel = functional.pad(conv.weight.double().flatten(1), (0, 1))
    kept = functional.pad(inside.flatten(), (0, 1), value=True)
    fitted, _ = fit(gram, kernel[:, None], kept)
    conv.weight.zero_()
    conv.weight.view(len(fitted), -1)[:, kept[:-1]] = fitted[:, 0, :-1].float()
    add_bias(layer, fitted[:, 0, -1])


def thin(layer: nn.Module, gram: Tensor, count: int) -> Tensor:
    """Fit a pointwise kernel to ``count`` of its channels; which those are."""
    conv = convolution(layer)
    kernel = functional.pad(conv.weight.double()[:, :, 0, 0], (0, 1))
    harm = scale(layer)[:, None] * kernel
    kept = torch.ones(kernel.shape[1], dtype=torch.bool)
    while int(kept.sum()) > count + 1:
        errors = {}
        for channel in kept[:-1].nonzero()[:, 0].tolist():
            rest = kept.clone()
            rest[channel] = False
            errors[channel] = float(fit(gram, harm, rest)[1])
        kept[min(errors, key=lambda channel: errors[channel])] = False
    fitted, _ = fit(gram, kernel, kept)
    conv.weight.zero_()
    conv.weight[:, kept[:-1], 0, 0] = fitted[:, :-1].float()
    add_bias(layer, fitted[:, -1])
    return kept[:-1]


def fit(gram: Tensor, kernel: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel (..., outputs, kept) that does the most of ``kernel`` (..., outputs, read).

    And the sum of squares of what it does not.
    """
    inner = gram[..., kept, :][..., kept]
    least = 1e-7 * inner.diagonal(dim1=-2, dim2=-1).mean(-1)
    inner = inner + least[..., None, None] * torch.eye(inner.shape[-1])
    fitted = torch.linalg.solve(inner, gram[..., kept, :] @ kernel.mT).mT
    missed = kernel.clone()
    missed[..., kept] -= fitted
    return fitted, (missed @ gram * missed).sum()


def empty(layer: nn.Module, channels: Tensor) -> None:
    """Set what ``layer`` writes into ``channels`` to 0."""
    assert isinstance(layer, ConvNorm)
    norm = layer.norm
    assert norm.running_mean is not None and norm.running_var is not None
    for tensor in (layer.conv.weight, norm.weight, norm.bias, norm.running_mean):
        tensor[channels] = 0
    norm.running_var[channels] = 1


def convolution(layer: nn.Module) -> nn.Conv2d:
    conv = layer.conv if isinstance(layer, ConvNorm) else layer
    assert isinstance(conv, nn.Conv2d)
    return conv


def scale(layer: nn.Module) -> Tensor:
    """What each output of the convolution of ``layer`` is multiplied by."""
    if not isinstance(layer, ConvNorm):
        return torch.ones(convolution(layer).out_channels, dtype=torch.float64)
    assert layer.norm.running_var is not None
    return (layer.norm.weight / (layer.norm.running_var + layer.norm.eps).sqrt()).double()


def add_bias(layer: nn.Module, values: Tensor) -> None:
    if isinstance(layer, ConvNorm):
        assert layer.norm.running_mean is not None
        layer.norm.running_mean -= values.float()
    else:
        bias = convolution(layer).bias
        assert bias is not None
        bias += values.float()


if __name__ == "__main__":
    main()
