"""The head: class scores, box distributions and mask coefficients of every cell."""

import math

import torch
from torch import Tensor, nn

from mobileyolact.model.layers import Separable

# Objects are rather in the middle of their boxes than in the corners: the polynomial of
# runtime.position that fits masks best where all have the same, on pictures of COCO.
POSITION_START = (0.7, 0.0, 0.0, -1.2, 0.0, -1.0, 0.0, 0.0)
PRIOR_SCORE = 0.01  # a new class starts from this score in every cell (arXiv:1708.02002, 4.1)


class LevelHead(nn.Module):
    """The head of one level; NanoDet-Plus shares no weights between levels.

    Scores and boxes are two convolutions rather than NanoDet's one, so that int8 can give
    each output its own scale.
    """

    def __init__(self, channels: int, classes: int, box_values: int, coefficients: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(Separable(channels, channels), Separable(channels, channels))
        self.scores = nn.Conv2d(channels, classes, 1)
        self.boxes = nn.Conv2d(channels, box_values, 1)
        self.mask_tower = Separable(channels, channels)
        self.coefficients = nn.Conv2d(channels, coefficients, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.tower(x)
        return self.scores(x), self.boxes(x), self.coefficients(self.mask_tower(x))


class Head(nn.Module):
    """One ``LevelHead`` a level; cells are laid out level by level, row by row.

    Args:
        box_values: values a cell gives for its box, ``4 * (reg_max + 1)`` for DFL.
        prototypes: how many a cell has coefficients for.
        position_coefficients: how many more it has for the position, 8 or 0.
    """

    def __init__(
        self,
        levels: int,
        channels: int,
        classes: int,
        box_values: int,
        prototypes: int,
        position_coefficients: int,
    ) -> None:
        super().__init__()
        self.position = position_coefficients
        self.levels = nn.ModuleList(
            LevelHead(channels, classes, box_values, prototypes + position_coefficients)
            for _ in range(levels)
        )

    def reset_outputs(self, generator: torch.Generator) -> None:
        """Start scores at the prior, boxes flat, coefficients where their tanh is not saturated.

        With He's weights the first classification loss of a new class would drown the rest, and
        two thirds of the coefficients would stay at -1 or 1, which cost 0.02 mask AP. Those of the
        position start alike for all objects, at ``POSITION_START``.
        """
        for level in self.levels:
            assert isinstance(level, LevelHead)
            for layer in (level.scores, level.boxes):
                nn.init.normal_(layer.weight, std=0.01, generator=generator)
            nn.init.normal_(level.coefficients.weight, std=0.05, generator=generator)
            if self.position:
                assert level.coefficients.bias is not None
                level.coefficients.weight.data[-self.position :] = 0
                level.coefficients.bias.data[-self.position :] = torch.tensor(POSITION_START)
            assert level.scores.bias is not None
            nn.init.constant_(level.scores.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        outputs = [level(x) for level, x in zip(self.levels, features, strict=True)]
        scores, boxes, coefficients = (
            torch.cat([x.flatten(2) for x in parts], 2).transpose(1, 2)
            for parts in zip(*outputs, strict=True)
        )
        return scores, boxes, coefficients
