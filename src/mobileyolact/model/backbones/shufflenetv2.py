"""ShuffleNetV2 1.0x (Ma et al., arXiv:1807.11164) with LeakyReLU, as in NanoDet-Plus-m."""

import torch
from torch import Tensor, nn

from mobileyolact.model.backbones import Backbone, register_backbone
from mobileyolact.model.layers import ConvNorm, leaky_relu


class Branch1(nn.Module):
    """The shortcut of a unit that halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dw = ConvNorm(inputs, inputs, 3, 2, inputs)
        self.pw = ConvNorm(inputs, outputs, activation=leaky_relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw(self.dw(x))


class Branch2(nn.Module):
    """The main path of a unit: pointwise, depthwise 3x3, pointwise."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.pw1 = ConvNorm(inputs, outputs, activation=leaky_relu)
        self.dw = ConvNorm(outputs, outputs, 3, stride, outputs)
        self.pw2 = ConvNorm(outputs, outputs, activation=leaky_relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw2(self.dw(self.pw1(x)))


class Unit(nn.Module):
    """One ShuffleNetV2 unit: figure 3 (c) of the paper at stride 1, (d) at stride 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.branch1 = Branch1(inputs, half) if stride == 2 else None
        self.branch2 = Branch2(inputs if stride == 2 else half, half, stride)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.branch1 is None:
            kept, x = x.chunk(2, 1)
        else:
            kept = self.branch1(x)
        return self.shuffle(torch.cat([kept, self.branch2(x)], 1))


def _stage(inputs: int, outputs: int, repeats: int) -> nn.Sequential:
    units = [Unit(inputs, outputs, 2)] + [Unit(outputs, outputs, 1) for _ in range(repeats - 1)]
    return nn.Sequential(*units)


@register_backbone("shufflenetv2-1.0")
class ShuffleNetV2(Backbone):
    """Features with 24, 116, 232 and 464 channels at strides 4, 8, 16 and 32."""

    out_channels = (24, 116, 232, 464)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 24, 3, 2, activation=leaky_relu)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stage2 = _stage(24, 116, 4)
        self.stage3 = _stage(116, 232, 8)
        self.stage4 = _stage(232, 464, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.pool(self.stem(images))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.stage4(c4)
