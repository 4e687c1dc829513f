"""The network of ``paper-*`` and ``dense-*``: YOLACT (arXiv:1904.02689) on a mobile backbone."""

import math

import torch
from torch import Tensor, nn

from mobileyolact.model.anchor_head import AnchorHead
from mobileyolact.model.backbones import BACKBONES
from mobileyolact.model.base import MobileYolact, Outputs
from mobileyolact.model.fpn import FPN
from mobileyolact.model.head import PRIOR_SCORE
from mobileyolact.model.presets import Preset
from mobileyolact.model.prototypes import YolactPrototypes


class Yolact(MobileYolact):
    """FPN P3 to P7, a head with anchors that all levels share, and prototypes from P3.

    ``semantic`` is only there to teach the features (YOLACT, section 5): it runs in train mode
    alone, and no artefact has it.
    """

    def __init__(self, preset: Preset, classes: int) -> None:
        super().__init__(preset, classes)
        channels = preset.neck_channels
        self.backbone = BACKBONES[preset.backbone]()
        _, c3, c4, c5 = self.backbone.out_channels
        self.neck = FPN((c3, c4, c5), channels, preset.separable)
        self.head = AnchorHead(
            len(preset.strides),
            channels,
            len(preset.anchor_ratios),
            classes + 1,
            preset.prototypes,
            preset.separable,
        )
        full = preset.prototype_branch == "full"
        self.prototypes = YolactPrototypes(
            channels,
            channels if full else preset.prototype_channels,
            preset.prototypes,
            depth=3 if full else 1,
            separable=preset.separable,
        )
        self.semantic = nn.Conv2d(channels, classes, 1)

    def reset_outputs(self, generator: torch.Generator) -> None:
        self.head.reset_outputs(generator)
        self.prototypes.reset_outputs(generator)
        nn.init.normal_(self.semantic.weight, std=0.01, generator=generator)
        assert self.semantic.bias is not None
        nn.init.constant_(self.semantic.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))

    def forward(self, images: Tensor) -> Outputs:
        """Map normalised images (B, 3, H, W) float32 to the raw outputs."""
        c2, c3, c4, c5 = self.backbone(images)
        p3, *coarser = self.neck(c3, c4, c5)
        scores, boxes, coefficients = self.head((p3, *coarser))
        prototypes = self.prototypes(p3, c2)
        semantic = self.semantic(p3) if self.training else None
        return Outputs(scores, boxes, coefficients, prototypes, semantic)
