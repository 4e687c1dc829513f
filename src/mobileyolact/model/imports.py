"""Weights that others published, brought into our networks by name.

Both sources have batch norm folded or re-created; ``WEIGHTS.md`` says where they come from.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mobileyolact.errors import ModelError
from mobileyolact.model.backbones.mobilenetv2 import BOTTLENECKS, MobileNetV2
from mobileyolact.model.layers import ConvNorm
from mobileyolact.model.network import MobileYolact


def load_nanodet(
    network: MobileYolact, weights: Mapping[str, Tensor], statistics: Mapping[str, Tensor]
) -> None:
    """Load NanoDet-Plus-m into an ``n-*`` network with 80 classes; the mask branch stays.

    Args:
        weights: ``NAME.weight`` and ``NAME.bias`` of each convolution, batch norm folded.
        statistics: ``NAME.mean`` and ``NAME.var`` of each folded convolution's output before
            its bias, with which batch norm is re-created: in eval mode the network is exactly
            the folded one, in train mode its batch norm works.
    """
    layers = dict(network.named_modules())
    for name in sorted({key.rsplit(".", 1)[0] for key in weights}):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        ours = re.sub(r"^head\.(\d)\.(\d)\.", r"head.levels.\1.tower.\2.", name)
        ours = re.sub(r"^head\.(\d)\.out$", r"head.levels.\1", ours)
        layer = layers.get(ours)
        if isinstance(layer, ConvNorm):
            _recreate_norm(
                layer, weight, bias, statistics[f"{name}.mean"], statistics[f"{name}.var"]
            )
        elif ours.startswith("head.levels."):
            split = network.classes
            _copy(layers[f"{ours}.scores"], weight[:split], bias[:split])
            _copy(layers[f"{ours}.boxes"], weight[split:], bias[split:])
        else:
            raise ModelError(f"the network has no layer for NanoDet-Plus's '{name}'")


def _recreate_norm(
    layer: ConvNorm, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> None:
    norm = layer.norm
    with torch.no_grad():
        layer.conv.weight.copy_(weight)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(bias + mean)


def _copy(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def load_mobilenetv2(backbone: MobileNetV2, weights: Mapping[str, Tensor]) -> None:
    """Load ``features.0`` to ``features.17`` of a MobileNetV2 in torchvision's naming."""
    _load_conv_norm(backbone.stem, weights, "features.0.0", "features.0.1")
    blocks = [*backbone.stride4, *backbone.stride8, *backbone.stride16, *backbone.stride32]
    expansions = [e for e, _, repeats, _ in BOTTLENECKS for _ in range(repeats)]
    for i, (block, expansion) in enumerate(zip(blocks, expansions, strict=True), 1):
        prefix, step = f"features.{i}.conv", 0
        if expansion > 1:
            _load_conv_norm(block.expand, weights, f"{prefix}.0.0", f"{prefix}.0.1")
            step = 1
        _load_conv_norm(block.dw, weights, f"{prefix}.{step}.0", f"{prefix}.{step}.1")
        _load_conv_norm(block.project, weights, f"{prefix}.{step + 1}", f"{prefix}.{step + 2}")


def _load_conv_norm(layer: ConvNorm, weights: Mapping[str, Tensor], conv: str, norm: str) -> None:
    with torch.no_grad():
        layer.conv.weight.copy_(weights[f"{conv}.weight"])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(layer.norm, name).copy_(weights[f"{norm}.{name}"])
