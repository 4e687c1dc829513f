"""The whole network, from image tensor to the four raw outputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mobileyolact.contract import ClassInfo, ModelContract, output_infos
from mobileyolact.model.backbones import BACKBONES
from mobileyolact.model.head import Head
from mobileyolact.model.layers import initialise
from mobileyolact.model.neck import GhostPAN
from mobileyolact.model.presets import Preset
from mobileyolact.model.prototypes import SimplifiedPrototypes


class Outputs(NamedTuple):
    """Raw outputs; N cells, C classes, K prototypes.

    scores (B, N, C) logits; boxes (B, N, 4 * (reg_max + 1)) logits of the distance bins, left,
    top, right, bottom; coefficients (B, N, K) before their activation; prototypes
    (B, K, H / 4, W / 4).
    """

    scores: Tensor
    boxes: Tensor
    coefficients: Tensor
    prototypes: Tensor


class MobileYolact(nn.Module):
    """Backbone, Ghost-PAN, detection head with coefficients, and prototypes."""

    def __init__(self, preset: Preset, classes: int) -> None:
        super().__init__()
        self.preset = preset
        self.classes = classes
        self.backbone = BACKBONES[preset.backbone]()
        c2, c3, c4, c5 = BACKBONES[preset.backbone].out_channels
        self.neck = GhostPAN((c3, c4, c5), preset.neck_channels)
        self.head = Head(
            len(preset.strides),
            preset.neck_channels,
            classes,
            preset.box_values,
            preset.prototypes,
        )
        self.prototypes = SimplifiedPrototypes(
            preset.neck_channels, c2, preset.prototype_channels, preset.prototypes
        )

    def forward(self, images: Tensor) -> Outputs:
        """Map normalised images (B, 3, H, W) float32 to the raw outputs."""
        c2, c3, c4, c5 = self.backbone(images)
        p3, p4, p5, p6 = self.neck(c3, c4, c5)
        scores, boxes, coefficients = self.head((p3, p4, p5, p6))
        return Outputs(scores, boxes, coefficients, self.prototypes(c2, p3, p4, p5))


def empty_network(preset: Preset, classes: int) -> MobileYolact:
    """A network of ``preset`` whose tensors hold nothing yet; no random number is drawn."""
    with torch.device("meta"):
        network = MobileYolact(preset, classes)
    network.to_empty(device="cpu")
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_network(preset: Preset, classes: int, seed: int = 0) -> MobileYolact:
    """A network of ``preset`` with random weights drawn from ``seed`` alone."""
    network = empty_network(preset, classes)
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    network.head.reset_outputs(generator)
    network.prototypes.reset_outputs(generator)
    return network


def build_contract(
    preset: Preset,
    classes: Sequence[ClassInfo],
    size: tuple[int, int] | None = None,
    **values: Any,
) -> ModelContract:
    """The contract of a network of ``preset`` at input ``size``; ``values`` override fields."""
    input_size = size or preset.input_size
    return ModelContract(
        name=preset.name,
        input_size=input_size,
        classes=tuple(classes),
        outputs=output_infos(
            input_size,
            preset.strides,
            classes=len(classes),
            box_values=preset.box_values,
            prototypes=preset.prototypes,
        ),
        strides=preset.strides,
        mean=preset.mean,
        std=preset.std,
        colour_order=preset.colour_order,
        reg_max=preset.reg_max,
        **values,
    )
