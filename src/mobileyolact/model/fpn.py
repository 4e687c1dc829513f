"""The feature pyramid of YOLACT (arXiv:1904.02689, section 4).

FPN: Lin et al., arXiv:1612.03144.
"""

from torch import Tensor, nn

from mobileyolact.model.layers import ConvNorm, ResizeTo, Separable, relu


def conv3x3(
    inputs: int, outputs: int, separable: bool, stride: int = 1, last_activation: bool = True
) -> nn.Module:
    """A 3x3 convolution with batch norm and ReLU: dense as YOLACT's, or depthwise separable."""
    if separable:
        return Separable(inputs, outputs, 3, stride, relu, last_activation)
    return ConvNorm(inputs, outputs, 3, stride, activation=relu if last_activation else None)


class FPN(nn.Module):
    """Features at strides 8, 16, 32 become ``channels`` wide ones at strides 8 to 128.

    Coarser features are resampled to the exact size of the finer ones, so that sides need not be
    multiples of the strides; their sizes are rounded up.
    """

    def __init__(self, in_channels: tuple[int, int, int], channels: int, separable: bool) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(c, channels) for c in in_channels)
        self.resize = ResizeTo()
        self.smooth = nn.ModuleList(conv3x3(channels, channels, separable) for _ in range(3))
        self.down = nn.ModuleList(
            conv3x3(channels, channels, separable, stride=2, last_activation=False)
            for _ in range(2)
        )

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> tuple[Tensor, ...]:
        l3, l4, l5 = (layer(c) for layer, c in zip(self.lateral, (c3, c4, c5), strict=True))
        l4 = l4 + self.resize(l5, l4)
        l3 = l3 + self.resize(l4, l3)
        p3, p4, p5 = (layer(x) for layer, x in zip(self.smooth, (l3, l4, l5), strict=True))
        p6 = self.down[0](p5)
        return p3, p4, p5, p6, self.down[1](p6)
