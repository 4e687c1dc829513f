"""Ghost-PAN, the neck of NanoDet-Plus: a path aggregation network of Ghost bottlenecks.

PAN: Liu et al., arXiv:1803.01534. Ghost modules: Han et al., arXiv:1911.11907.
"""

import torch
from torch import Tensor, nn

from mobileyolact.model.layers import Activation, ConvNorm, Separable, leaky_relu, upsample


class Ghost(nn.Module):
    """Half of the channels from a 1x1 convolution, half from a depthwise 3x3 of these."""

    def __init__(self, inputs: int, outputs: int, activation: Activation | None) -> None:
        super().__init__()
        half = outputs // 2
        self.primary = ConvNorm(inputs, half, activation=activation)
        self.cheap = ConvNorm(half, half, 3, 1, half, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)


class Shortcut(nn.Module):
    """Depthwise 5x5 and pointwise, both linear."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dw = ConvNorm(inputs, inputs, 5, 1, inputs)
        self.pw = ConvNorm(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw(self.dw(x))


class Fuse(nn.Module):
    """A Ghost bottleneck that merges two features of one resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ghost1 = Ghost(2 * channels, channels, leaky_relu)
        self.ghost2 = Ghost(channels, channels, None)
        self.shortcut = Shortcut(2 * channels, channels)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x = torch.cat([a, b], 1)
        return self.ghost2(self.ghost1(x)) + self.shortcut(x)


class GhostPAN(nn.Module):
    """Features at strides 8, 16, 32 become ``channels`` wide ones at strides 8, 16, 32, 64."""

    def __init__(self, in_channels: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            ConvNorm(c, channels, activation=leaky_relu) for c in in_channels
        )
        self.up = upsample()
        self.top_down = nn.ModuleList(Fuse(channels) for _ in range(2))
        self.downsample = nn.ModuleList(Separable(channels, channels, stride=2) for _ in range(2))
        self.bottom_up = nn.ModuleList(Fuse(channels) for _ in range(2))
        self.extra_in = Separable(channels, channels, stride=2)
        self.extra_out = Separable(channels, channels, stride=2)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> tuple[Tensor, ...]:
        r3, r4, r5 = (reduce(c) for reduce, c in zip(self.reduce, (c3, c4, c5), strict=True))
        t4 = self.top_down[0](self.up(r5), r4)
        p3 = self.top_down[1](self.up(t4), r3)
        p4 = self.bottom_up[0](self.downsample[0](p3), t4)
        p5 = self.bottom_up[1](self.downsample[1](p4), r5)
        return p3, p4, p5, self.extra_in(r5) + self.extra_out(p5)
