"""Networks that name what a picture shows, as ncnn's benchmark has them, inputs of 224 pixels.

Their layers are those of the published benchmark, which differ from the papers' in places:
activations of their own layers, squeeze and excitation in more blocks, strides.
"""

from mobileyolact.benchmark.reference.builder import Builder, Tensor


def squeezenet() -> Builder:
    """SqueezeNet 1.1 (arXiv:1602.07360)."""
    b = Builder(227)
    x = squeezenet_features(b)[-1]
    b.softmax(b.average_pool(b.conv(x, 1000)))
    return b


def squeezenet_features(b: Builder, fused: bool = True) -> list[Tensor]:
    """The output of each of the eight fire modules."""
    x = _conv_relu(b, b.image, 64, 3, 2, pad=0, fused=fused)
    found = []
    for i, (squeeze, expand) in enumerate(((16, 64), (32, 128), (48, 192), (64, 256))):
        x = b.max_pool(x) if i < 3 else x
        for _ in range(2):
            x = fire(b, x, squeeze, expand, fused)
            found.append(x)
    return found


def fire(b: Builder, x: Tensor, squeeze: int, expand: int, fused: bool) -> Tensor:
    """A fire module; its ReLUs are ``fused`` into the convolutions, or layers of their own."""
    x = _conv_relu(b, x, squeeze, fused=fused)
    ones = _conv_relu(b, x, expand, fused=fused)
    return b.concat(ones, _conv_relu(b, x, expand, 3, fused=fused))


def _conv_relu(
    b: Builder,
    x: Tensor,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    pad: int | None = None,
    fused: bool = True,
) -> Tensor:
    y = b.conv(x, channels, kernel, stride, "relu" if fused else None, pad)
    return y if fused else b.activation(y, "ReLU")


def mobilenet() -> Builder:
    """MobileNet 1.0 (arXiv:1704.04861)."""
    b = Builder(224)
    x = mobilenet_features(b)[-1]
    b.softmax(b.dense(b.average_pool(x), 1000))
    return b


def mobilenet_features(b: Builder, fused: bool = True) -> list[Tensor]:
    """The output of each of the thirteen separable convolutions."""
    x = _conv_relu(b, b.image, 32, 3, 2, fused=fused)
    found = []
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for i, width in enumerate(widths):
        y = b.depthwise(x, 3, 2 if i in (1, 3, 5, 11) else 1, "relu" if fused else None)
        x = _conv_relu(b, y if fused else b.activation(y, "ReLU"), width, fused=fused)
        found.append(x)
    return found


def mobilenet_v2() -> Builder:
    """MobileNetV2 1.0 (arXiv:1801.04381)."""
    b = Builder(224)
    x = mobilenet_v2_features(b)[1]
    b.softmax(b.dense(b.average_pool(b.conv(x, 1280)), 1000))
    return b


def mobilenet_v2_features(b: Builder) -> tuple[Tensor, Tensor]:
    """What the last block of stride 16 is widened to, and the output of the last block."""
    x = b.conv(b.image, 32, 3, 2)
    x = inverted(b, x, x, 16)
    stages = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
    widened = x
    for width, count, stride in stages:
        for i in range(count):
            wide = b.conv(x, 6 * x.channels)
            widened = wide if (width, i) == (160, 0) else widened
            x = inverted(b, x, wide, width, stride=1 if i else stride)
    return widened, x


def inverted(
    b: Builder,
    x: Tensor,
    wide: int | Tensor,
    channels: int,
    kernel: int = 3,
    stride: int = 1,
    activation: str = "relu",
) -> Tensor:
    """An inverted residual block; ``wide`` is what ``x`` is widened to, or how far."""
    y = b.conv(x, wide, activation=activation) if isinstance(wide, int) else wide
    y = b.conv(b.depthwise(y, kernel, stride, activation), channels, activation=None)
    return b.add(x, y) if stride == 1 and x.channels == channels else y


def mnasnet() -> Builder:
    """MnasNet 1.0 without squeeze and excitation (arXiv:1807.11626)."""
    b = Builder(224)
    x = b.conv(b.image, 32, 3, 2)
    x = inverted(b, x, x, 16)
    stages = (
        (24, 3, 2, 3, 3),
        (40, 3, 2, 3, 5),
        (80, 3, 2, 6, 5),
        (96, 2, 1, 6, 3),
        (192, 4, 2, 6, 5),
        (320, 1, 1, 6, 3),
    )
    for width, count, stride, expansion, kernel in stages:
        for i in range(count):
            wide = (expansion if i or expansion == 3 else 6) * x.channels
            x = inverted(b, x, wide, width, kernel, 1 if i else stride)
    b.softmax(b.dense(b.average_pool(b.conv(x, 1280)), 1000))
    return b


def mobilenet_v3() -> Builder:
    """MobileNetV3 large (arXiv:1905.02244)."""
    b = Builder(224)
    x = b.conv(b.image, 16, 3, 2, None)
    x = b.scale(x, b.activation(x, "HardSigmoid"))
    x = inverted(b, x, x, 16)
    x = inverted(b, x, 64, 24, stride=2)
    x = inverted(b, x, 72, 24)
    blocks = (
        (72, 40, 5, 2, True, False),
        (120, 40, 5, 1, True, False),
        (120, 40, 5, 1, True, False),
        (240, 80, 3, 2, False, True),
        (200, 80, 3, 1, False, True),
        (184, 80, 3, 1, False, True),
        (184, 80, 3, 1, False, True),
        (480, 112, 3, 1, True, True),
        (672, 112, 3, 1, True, True),
        (672, 160, 5, 1, True, True),
        (672, 160, 5, 2, True, True),
        (960, 160, 5, 1, True, True),
    )
    for wide, channels, kernel, stride, squeezed, hard in blocks:
        y = b.conv(x, wide, activation=None if hard else "relu")
        y = b.activation(y, "HardSwish") if hard else y
        y = b.depthwise(y, kernel, stride, None)
        if squeezed:
            gate = b.dense(b.dense(b.average_pool(y), wide // 4, "relu"), wide)
            y = b.scale(y, b.activation(gate, "HardSigmoid"))
        y = b.conv(b.activation(y, "HardSwish" if hard else "ReLU"), channels, activation=None)
        x = b.add(x, y) if stride == 1 and x.channels == channels else y
    x = b.average_pool(b.activation(b.conv(x, 960, activation=None), "HardSwish"))
    b.softmax(b.dense(b.activation(b.dense(x, 1280), "HardSwish"), 1000))
    return b


def efficientnet_b0() -> Builder:
    """EfficientNet-B0 (arXiv:1905.11946)."""
    b = Builder(224)
    x = b.activation(b.conv(b.image, 32, 3, 2, None), "Swish")
    stages = (
        (16, 1, 1, 1, 3),
        (24, 2, 2, 6, 3),
        (40, 2, 2, 6, 5),
        (80, 3, 2, 6, 3),
        (112, 3, 1, 6, 5),
        (192, 4, 2, 6, 5),
        (320, 1, 1, 6, 3),
    )
    for channels, count, first_stride, expansion, kernel in stages:
        for i in range(count):
            stride, y = (1 if i else first_stride), x
            if expansion > 1:
                y = b.activation(b.conv(x, expansion * x.channels, activation=None), "Swish")
            y = b.activation(b.depthwise(y, kernel, stride, None), "Swish")
            gate = b.activation(b.dense(b.average_pool(y), x.channels // 4), "Swish")
            y = b.scale(y, b.dense(gate, y.channels, "sigmoid"))
            y = b.conv(y, channels, activation=None)
            x = b.add(x, y) if stride == 1 and x.channels == channels else y
    x = b.activation(b.conv(x, 1280, activation=None), "Swish")
    b.softmax(b.dense(b.average_pool(x), 1000))
    return b


def resnet50() -> Builder:
    """ResNet-50 (arXiv:1512.03385), strides in the first convolution of a block."""
    b = Builder(224)
    x = b.max_pool(b.conv(b.image, 64, 7, 2))
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(count):
            stride = 2 if i == 0 and width > 64 else 1
            y = b.conv(b.conv(b.conv(x, width, 1, stride), width, 3), 4 * width, activation=None)
            straight = x if i else b.conv(x, 4 * width, 1, stride, None)
            x = b.activation(b.add(straight, y), "ReLU")
    b.softmax(b.dense(b.average_pool(x), 1000))
    return b
