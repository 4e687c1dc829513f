"""The head of YOLACT: one set of weights for all levels, several anchors a cell."""

import torch
from torch import Tensor, nn

from mobileyolact.model.layers import SharedConvNorm, Ungroup


class AnchorHead(nn.Module):
    """Scores, box offsets and mask coefficients of every anchor (arXiv:1904.02689, figure 4).

    A tower of one 3x3 convolution, then a 3x3 convolution for each output. Where it is
    ``separable``, each of these is a depthwise 3x3 and a 1x1, as in SSDLite (arXiv:1801.04381).
    Channels of an output lie anchor by anchor; its rows follow level by level, cell by cell,
    anchor by anchor.

    Args:
        scores: numbers that an anchor gives for its class, background included.
    """

    def __init__(
        self,
        levels: int,
        channels: int,
        anchors: int,
        scores: int,
        coefficients: int,
        separable: bool,
    ) -> None:
        super().__init__()
        kernel = 1 if separable else 3

        def depthwise() -> nn.ModuleList:
            count = 1 if separable else 0
            return nn.ModuleList(
                SharedConvNorm(levels, channels, channels, 3, channels) for _ in range(count)
            )

        def output(values: int) -> nn.Conv2d:
            return nn.Conv2d(channels, anchors * values, kernel, padding=kernel // 2)

        self.tower = depthwise()
        self.tower.append(SharedConvNorm(levels, channels, channels, kernel))
        self.score_tower, self.scores = depthwise(), output(scores)
        self.box_tower, self.boxes = depthwise(), output(4)
        self.mask_tower, self.coefficients = depthwise(), output(coefficients)
        self.rows = nn.ModuleList(map(Ungroup, (scores, 4, coefficients)))

    def reset_outputs(self, generator: torch.Generator) -> None:
        """Start all classes alike, boxes at their anchors, coefficients where tanh is steep."""
        for layer in (self.scores, self.boxes):
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
        nn.init.normal_(self.coefficients.weight, std=0.05, generator=generator)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        outputs = [self.level(x, level) for level, x in enumerate(features)]
        scores, boxes, coefficients = (
            rows(torch.cat([x.flatten(2) for x in parts], 2).transpose(1, 2))
            for rows, parts in zip(self.rows, zip(*outputs, strict=True), strict=True)
        )
        return scores, boxes, coefficients

    def level(self, x: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs (B, anchors * values, h, w) of one level."""
        x = _through(self.tower, x, level)
        return (
            self.scores(_through(self.score_tower, x, level)),
            self.boxes(_through(self.box_tower, x, level)),
            self.coefficients(_through(self.mask_tower, x, level)),
        )


def _through(layers: nn.ModuleList, x: Tensor, level: int) -> Tensor:
    for layer in layers:
        x = layer(x, level)
    return x
