"""Building the network of a preset, and the contract that goes with it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mobileyolact.contract import ClassInfo, ModelContract, output_infos
from mobileyolact.model.backbones import BACKBONES
from mobileyolact.model.base import MobileYolact, Outputs
from mobileyolact.model.head import Head
from mobileyolact.model.layers import initialise, with_relu
from mobileyolact.model.neck import GhostPAN
from mobileyolact.model.presets import Preset
from mobileyolact.model.prototypes import SimplifiedPrototypes
from mobileyolact.model.yolact import Yolact

__all__ = [
    "GhostYolact",
    "MobileYolact",
    "Outputs",
    "build_contract",
    "build_network",
    "empty_network",
    "network_class",
]


class GhostYolact(MobileYolact):
    """``n-*`` and ``s-*``: Ghost-PAN, a task-aligned head without anchors, and prototypes."""

    def __init__(self, preset: Preset, classes: int) -> None:
        super().__init__(preset, classes)
        self.backbone = BACKBONES[preset.backbone]()
        c2, c3, c4, c5 = self.backbone.out_channels
        self.neck = GhostPAN((c3, c4, c5), preset.neck_channels)
        self.head = Head(
            len(preset.strides),
            preset.neck_channels,
            classes,
            preset.box_values,
            preset.prototypes,
            preset.position_coefficients,
        )
        self.prototypes = SimplifiedPrototypes(
            preset.neck_channels, c2, preset.prototype_channels, preset.prototypes
        )
        if preset.activation == "relu":
            with_relu(self)

    def reset_outputs(self, generator: torch.Generator) -> None:
        self.head.reset_outputs(generator)
        self.prototypes.reset_outputs(generator)

    def forward(self, images: Tensor) -> Outputs:
        """Map normalised images (B, 3, H, W) float32 to the raw outputs."""
        c2, c3, c4, c5 = self.backbone(images)
        p3, p4, p5, p6 = self.neck(c3, c4, c5)
        scores, boxes, coefficients = self.head((p3, p4, p5, p6))
        return Outputs(scores, boxes, coefficients, self.prototypes(c2, p3, p4, p5))


def network_class(preset: Preset) -> type[MobileYolact]:
    """The class that builds the networks of ``preset``."""
    return Yolact if preset.anchor_ratios else GhostYolact


def empty_network(preset: Preset, classes: int) -> MobileYolact:
    """A network of ``preset`` whose tensors hold nothing yet; no random number is drawn."""
    with torch.device("meta"):
        network = network_class(preset)(preset, classes)
    network.to_empty(device="cpu")
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_network(preset: Preset, classes: int, seed: int = 0) -> MobileYolact:
    """A network of ``preset`` with random weights drawn from ``seed`` alone."""
    network = empty_network(preset, classes)
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    network.reset_outputs(generator)
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
            position_coefficients=preset.position_coefficients,
            anchors=len(preset.anchor_ratios),
            background=bool(preset.anchor_ratios),
        ),
        strides=preset.strides,
        mean=preset.mean,
        std=preset.std,
        colour_order=preset.colour_order,
        **{**_coding(preset), **values},
    )


def _coding(preset: Preset) -> dict[str, Any]:
    """How the outputs are read, and the defaults that go with it."""
    if not preset.anchor_ratios:
        return {"reg_max": preset.reg_max, "position_coefficients": preset.position_coefficients}
    return {
        "box_coding": "anchor",
        "anchor_scales": preset.anchor_scales,
        "anchor_ratios": preset.anchor_ratios,
        "score_activation": "softmax",
        "prototype_activation": "relu",
        "nms": "fast",
        "nms_threshold": 0.5,  # with which YOLACT's figures were measured
        "mask_threshold": 0.5,
    }
