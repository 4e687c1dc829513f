"""The few layers that every part of the network is made of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[], nn.Module]


def leaky_relu() -> nn.Module:
    """LeakyReLU 0.1, the activation of NanoDet-Plus; fused by ONNX Runtime and ncnn alike."""
    return nn.LeakyReLU(0.1, inplace=True)


def relu() -> nn.Module:
    """ReLU, the activation of YOLACT."""
    return nn.ReLU(inplace=True)


def with_relu(network: nn.Module) -> None:
    """Put a ReLU in the place of every LeakyReLU: integers need no pass of its own for it."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.LeakyReLU):
                setattr(module, name, relu())


def relu6() -> nn.Module:
    """ReLU6, the activation that MobileNetV2's public weights were trained with."""
    return nn.ReLU6(inplace=True)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and an activation if one is given.

    Args:
        same: pad as TensorFlow's SAME does, which for the only case that needs it, a 3x3 kernel
            at stride 2, is 1 after the end and, where a side is odd, 1 before its start.
            Otherwise all sides are padded by ``kernel // 2``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = None,
        same: bool = False,
    ) -> None:
        super().__init__()
        self.same = same
        padding = 0 if same else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = activation() if activation else None

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            height, width = x.shape[2:]
            x = functional.pad(x, (width % 2, 1, height % 2, 1))
        x = self.norm(self.conv(x))
        return x if self.act is None else self.act(x)


class Separable(nn.Module):
    """Depthwise convolution, then pointwise 1x1, each with batch norm and activation.

    The depthwise separable convolution of MobileNet (arXiv:1704.04861), which the paper
    uses in the entire model.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 5,
        stride: int = 1,
        activation: Activation | None = leaky_relu,
        last_activation: bool = True,
    ) -> None:
        super().__init__()
        self.dw = ConvNorm(inputs, inputs, kernel, stride, inputs, activation)
        self.pw = ConvNorm(inputs, outputs, activation=activation if last_activation else None)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw(self.dw(x))


class SharedConvNorm(nn.Module):
    """One convolution for all levels, each of which has a batch norm of its own.

    The statistics of levels differ: one norm for all would be trained on each level's own and
    evaluated on their mixture. Called with the feature and the index of its level.
    """

    def __init__(
        self,
        levels: int,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        groups: int = 1,
        activation: Activation = relu,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(levels))
        self.act = activation()

    def forward(self, x: Tensor, level: int) -> Tensor:
        return self.act(self.norms[level](self.conv(x)))


class ResizeTo(nn.Module):
    """Bilinear resampling to the height and width of ``like``, half-pixel centres."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class Ungroup(nn.Module):
    """Groups of a row become rows: (B, R, G * values) to (B, R * G, values)."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.values)


def upsample() -> nn.Module:
    """Bilinear x2, half-pixel centres."""
    return nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Start every convolution of ``module`` from He's normal distribution (arXiv:1502.01852).

    Batch norm starts as identity, biases at 0. All random numbers come from ``generator``.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[0, 0].numel() * layer.out_channels // layer.groups
            with torch.no_grad():
                layer.weight.normal_(0.0, (2.0 / fan_out) ** 0.5, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()  # and the running statistics
