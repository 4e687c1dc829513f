"""The prototype branch: masks are linear combinations of its outputs (arXiv:1904.02689)."""

import torch
from torch import Tensor, nn

from mobileyolact.model.fpn import conv3x3
from mobileyolact.model.layers import ConvNorm, ResizeTo, Separable, leaky_relu, upsample


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


class YolactPrototypes(nn.Module):
    """Prototypes from P3 as in figure 3 of YOLACT, which has a ``depth`` of 3.

    So many 3x3 convolutions, bilinear upsampling to stride 4, one more 3x3, then 1x1. Outputs are
    (B, K, H / 4, W / 4) before their ReLU.
    """

    def __init__(
        self, inputs: int, channels: int, prototypes: int, depth: int, separable: bool
    ) -> None:
        super().__init__()
        self.before = nn.Sequential(
            *(conv3x3(channels if i else inputs, channels, separable) for i in range(depth))
        )
        self.resize = ResizeTo()
        self.after = conv3x3(channels, channels, separable)
        self.out = nn.Conv2d(channels, prototypes, 1)

    def reset_outputs(self, generator: torch.Generator) -> None:
        """Start small, so that no mask is sure of itself before it has learnt."""
        nn.init.normal_(self.out.weight, std=0.1, generator=generator)

    def forward(self, p3: Tensor, stride4: Tensor) -> Tensor:
        """Of the feature ``stride4`` only the height and width are read."""
        return self.out(self.after(self.resize(self.before(p3), stride4)))
