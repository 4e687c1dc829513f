"""MobileNetV2 1.0 (Sandler et al., arXiv:1801.04381) up to its last bottleneck."""

from typing import ClassVar

from torch import Tensor, nn

from mobileyolact.model.backbones import Backbone, register_backbone
from mobileyolact.model.layers import ConvNorm, relu6

# Expansion, output channels, repeats, stride of the first: table 2 of the paper.
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project; the input is added where shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int, same: bool = True
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, activation=relu6) if expansion > 1 else None
        self.dw = ConvNorm(hidden, hidden, 3, stride, hidden, relu6, same and stride == 2)
        self.project = ConvNorm(hidden, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.dw(y))
        return x + y if self.residual else y


@register_backbone("mobilenetv2-1.0")
class MobileNetV2(Backbone):
    """Features with 24, 32, 96 and 320 channels at strides 4, 8, 16 and 32.

    Its layers of stride 2 are padded as TensorFlow does: so its public weights were trained.
    """

    out_channels = (24, 32, 96, 320)
    same: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2, activation=relu6, same=self.same)
        blocks: list[nn.Module] = []
        inputs = 32
        for expansion, outputs, repeats, stride in BOTTLENECKS:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, step, expansion, self.same))
                inputs = outputs
        self.stride4 = nn.Sequential(*blocks[:3])
        self.stride8 = nn.Sequential(*blocks[3:6])
        self.stride16 = nn.Sequential(*blocks[6:13])
        self.stride32 = nn.Sequential(*blocks[13:])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.stride4(self.stem(images))
        c3 = self.stride8(c2)
        c4 = self.stride16(c3)
        return c2, c3, c4, self.stride32(c4)


@register_backbone("mobilenetv2-1.0-symmetric")
class SymmetricMobileNetV2(MobileNetV2):
    """The same layers and weights, padded by 1 on all sides at stride 2: for the ablation."""

    same = False
