"""Parameters and multiply-accumulates of a preset, counted from the network itself."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mobileyolact.model.network import network_class
from mobileyolact.model.presets import Preset

PARTS = ("backbone", "neck", "head", "prototypes")


@dataclass(frozen=True)
class PresetSummary:
    """Figures of one preset with ``classes`` classes.

    ``parameters`` counts what is learnt (batch norm's scale and shift included); ``gmacs`` are
    10^9 multiply-accumulates of the convolutions by part; ``full_convolutions`` names every
    convolution that is neither depthwise nor 1x1. What serves training alone is left out.
    """

    name: str
    input_size: tuple[int, int]
    backbone: str
    starts: tuple[str, ...]
    classes: int
    parameters: int
    gmacs: dict[str, float]
    full_convolutions: tuple[str, ...]


def summarise(preset: Preset, classes: int = 80) -> PresetSummary:
    """Count the network of ``preset``; no weights are made and nothing is computed."""
    with torch.device("meta"):
        network = network_class(preset)(preset, classes).eval()
        image = torch.empty(1, 3, *preset.input_size)
    macs = dict.fromkeys(PARTS, 0)
    full = []

    def count(name: str) -> Any:
        def hook(layer: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
            macs[name.split(".")[0]] += layer.weight.numel() * output.shape[2] * output.shape[3]

        return hook

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count(name))
            if layer.kernel_size != (1, 1) and layer.groups != layer.in_channels:
                full.append(name)
    network(image)
    return PresetSummary(
        name=preset.name,
        input_size=preset.input_size,
        backbone=preset.backbone,
        starts=preset.starts,
        classes=classes,
        parameters=sum(
            p.numel() for name, p in network.named_parameters() if name.split(".")[0] in PARTS
        ),
        gmacs={part: value / 1e9 for part, value in macs.items()},
        full_convolutions=tuple(full),
    )
