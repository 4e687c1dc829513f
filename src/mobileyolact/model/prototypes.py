"""The prototype branch: masks are linear combinations of its outputs (arXiv:1904.02689)."""

import torch
from torch import Tensor, nn

from mobileyolact.model.layers import ConvNorm, Separable, leaky_relu, upsample


class SimplifiedPrototypes(nn.Module):
    """Three neck levels summed at stride 8, refined at stride 4, all separable.

    The stride-4 feature of the backbone gives back the edges that the neck has lost.
    Outputs are linear: prototypes (B, K, H / 4, W / 4) of an input (B, 3, H, W).
    """

    def __init__(
        self, neck_channels: int, stride4_channels: int, channels: int, prototypes: int
    ) -> None:
        super().__init__()
        self.p3 = ConvNorm(neck_channels, channels, activation=leaky_relu)
        self.p4 = ConvNorm(neck_channels, channels, activation=leaky_relu)
        self.p5 = ConvNorm(neck_channels, channels, activation=leaky_relu)
        self.up = upsample()
        self.context = nn.Sequential(Separable(channels, channels), Separable(channels, channels))
        self.detail = ConvNorm(stride4_channels, channels)
        self.refine = Separable(channels, channels)
        self.out = nn.Conv2d(channels, prototypes, 1)

    def reset_outputs(self, generator: torch.Generator) -> None:
        """Start small, so that no mask is sure of itself before it has learnt."""
        nn.init.normal_(self.out.weight, std=0.1, generator=generator)

    def forward(self, c2: Tensor, p3: Tensor, p4: Tensor, p5: Tensor) -> Tensor:
        x = self.p3(p3) + self.up(self.p4(p4) + self.up(self.p5(p5)))
        x = self.up(self.context(x)) + self.detail(c2)
        return self.out(self.refine(x))
