"""ShuffleNetV2 (arXiv:1807.11164) and the detectors that stand on it, the nearest to ours."""

from dataclasses import dataclass

from mobileyolact.benchmark.reference.builder import Builder, Tensor

_STAGES = (4, 8, 4)


def shufflenet_v2() -> Builder:
    """ShuffleNetV2 1.0x at 224 pixels."""
    b = Builder(224)
    x = _features(b, (116, 232, 464), "relu")[-1]
    b.softmax(b.dense(b.average_pool(b.conv(x, 1024)), 1000))
    return b


def _features(b: Builder, widths: tuple[int, ...], activation: str) -> list[Tensor]:
    """The outputs of the three stages: strides 8, 16 and 32."""
    x = b.max_pool(b.conv(b.image, 24, 3, 2, activation), pad=1)
    found = []
    for width, count in zip(widths, _STAGES, strict=True):
        for i in range(count):
            x = _unit(b, x, width, activation, first=i == 0)
        found.append(x)
    return found


def _unit(b: Builder, x: Tensor, width: int, activation: str, first: bool) -> Tensor:
    half = width // 2
    if first:
        left = b.conv(b.depthwise(x, 3, 2, None), half, activation=activation)
        right = x
    else:
        left, right = b.split(x, half)
    right = b.conv(right, half, activation=activation)
    right = b.depthwise(right, 3, 2 if first else 1, None)
    return b.shuffle(b.concat(left, b.conv(right, half, activation=activation)))


@dataclass(frozen=True)
class Width:
    """Channels of the three stages, and of all that follows."""

    stages: tuple[int, int, int]
    neck: int


NANO = Width((116, 232, 464), 96)
NANO_15X = Width((176, 352, 704), 128)


def nanodet_m(side: int, width: Width = NANO) -> Builder:
    """NanoDet-m: a path aggregation network of sums, and two separable convolutions a level."""
    b = Builder(side)
    features = _features(b, width.stages, "leaky")
    c3, c4, c5 = (b.conv(x, width.neck, activation=None) for x in features)
    p4 = b.add(c4, b.resize(c5, 2, "bilinear"))
    p3 = b.add(c3, b.resize(p4, 2, "bilinear"))
    n4 = b.add(p4, b.resize(p3, 0.5, "bilinear"))
    n5 = b.add(c5, b.resize(n4, 0.5, "bilinear"))
    for x in (p3, n4, n5):
        _nanodet_head(b, x, 3)
    return b


def nanodet_plus(side: int, width: Width = NANO) -> Builder:
    """NanoDet-Plus-m: Ghost bottlenecks (arXiv:1911.11907) as neck, four levels."""
    b = Builder(side)
    features = _features(b, width.stages, "leaky")
    r3, r4, r5 = (b.conv(x, width.neck, activation="leaky") for x in features)
    t4 = _fuse(b, b.resize(r5, 2, "bilinear"), r4)
    p3 = _fuse(b, b.resize(t4, 2, "bilinear"), r3)
    p4 = _fuse(b, _separable(b, p3, 5, 2), t4)
    p5 = _fuse(b, _separable(b, p4, 5, 2), r5)
    for x in (p3, p4, p5, b.add(_separable(b, r5, 5, 2), _separable(b, p5, 5, 2))):
        _nanodet_head(b, x, 5)
    return b


def _separable(b: Builder, x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    y = b.depthwise(x, kernel, stride, "leaky")
    return b.conv(y, x.channels, activation="leaky")


def _fuse(b: Builder, x: Tensor, y: Tensor) -> Tensor:
    both, half = b.concat(x, y), y.channels // 2
    z = b.conv(both, half, activation="leaky")
    z = b.concat(z, b.depthwise(z, activation="leaky"))
    z = b.conv(z, half, activation=None)
    z = b.concat(z, b.depthwise(z, activation=None))
    return b.add(z, b.conv(b.depthwise(both, 5, 1, None), y.channels, activation=None))


def _nanodet_head(b: Builder, x: Tensor, kernel: int) -> None:
    for _ in range(2):
        x = _separable(b, x, kernel)
    scores, boxes = b.split(b.conv(x, 112, activation=None), 80)
    b.rows(b.activation(scores, "Sigmoid"), 80)
    b.rows(boxes, 32)


def yolo_fastestv2() -> Builder:
    """Yolo-FastestV2 at 352 pixels."""
    b = Builder(352)
    _, c4, c5 = _features(b, (48, 96, 192), "relu")
    wide = b.conv(c5, 72)
    near = b.conv(b.concat(b.resize(c5, 2), c4), 72)
    for x in (wide, near):
        towers = []
        for _ in range(2):
            y = x
            for _ in range(2):
                y = b.conv(b.depthwise(y, 5), 72, activation=None)
            towers.append(y)
        b.conv(towers[1], 12, activation="sigmoid")
        b.conv(towers[0], 3, activation="sigmoid")
        b.softmax(b.conv(towers[0], 80, activation=None))
    return b


def fastest_det() -> Builder:
    """FastestDet at 352 pixels."""
    b = Builder(352)
    c3, c4, c5 = _features(b, (48, 96, 192), "relu")
    x = b.conv(b.concat(b.resize(c3, 0.5), c4, b.resize(c5, 2)), 96)
    chains = []
    for length in (1, 2, 3):
        y = x
        for _ in range(length):
            y = b.depthwise(y, 5)
        chains.append(y)
    x = b.activation(b.add(x, b.conv(b.concat(*chains), 96, activation=None)), "ReLU")
    x = b.conv(x, 96)
    b.softmax(b.conv(b.depthwise(x, 5), 80, activation=None))
    b.conv(b.depthwise(x, 5), 4, activation=None)
    b.conv(b.depthwise(x, 5), 1, activation="sigmoid")
    return b
