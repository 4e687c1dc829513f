"""Detectors of ncnn's benchmark that stand on other networks than ShuffleNetV2.

What follows the networks, suppression above all, is left out: it takes next to no time there.
"""

from mobileyolact.benchmark.reference.builder import Builder, Tensor
from mobileyolact.benchmark.reference.classifiers import (
    fire,
    inverted,
    mobilenet_features,
    mobilenet_v2_features,
    squeezenet_features,
)

_SSD_CLASSES = 21


def squeezenet_ssd() -> Builder:
    """SSD on SqueezeNet at 300 pixels, 3x3 heads on six levels."""
    b = Builder(300)
    found = squeezenet_features(b, fused=False)
    levels = [found[3], found[-1]]
    for _ in range(2):
        levels.append(fire(b, b.max_pool(levels[-1]), 96, 384, fused=False))
    for narrow, wide in ((128, 256), (64, 128)):
        levels.append(b.conv(b.conv(levels[-1], narrow), wide, 3, 2))
    _ssd_heads(b, levels, (4, 6, 6, 6, 6, 4), 3)
    return b


def mobilenet_ssd() -> Builder:
    """SSD on MobileNet at 300 pixels, 1x1 heads on six levels."""
    b = Builder(300)
    found = mobilenet_features(b, fused=False)
    levels = [found[10], found[12]]
    for narrow, wide in ((256, 512), (128, 256), (128, 256), (64, 128)):
        levels.append(b.conv(b.conv(levels[-1], narrow), wide, 3, 2))
    _ssd_heads(b, levels, (3, 6, 6, 6, 6, 6), 1)
    return b


def _ssd_heads(b: Builder, levels: list[Tensor], anchors: tuple[int, ...], kernel: int) -> None:
    for x, count in zip(levels, anchors, strict=True):
        b.rows(b.conv(x, 4 * count, kernel, activation=None), 4)
        scores = b.conv(x, _SSD_CLASSES * count, kernel, activation=None)
        b.softmax(b.rows(scores, _SSD_CLASSES), 1)


def mobilenetv2_yolov3() -> Builder:
    """YOLOv3 with separable convolutions on MobileNetV2 at 352 pixels, two levels."""
    b = Builder(352)
    near, x = mobilenet_v2_features(b)
    x = b.conv(b.depthwise(b.conv(x, 1280)), 576)
    near = b.add(b.resize(x, 2), b.conv(b.depthwise(near), 576))
    near = b.conv(b.depthwise(near), 576)
    for level in (x, near):
        b.conv(level, 75, activation=None)
    return b


def yolov3_tiny() -> Builder:
    """YOLOv3-tiny at 416 pixels (arXiv:1804.02767)."""
    b = Builder(416)
    x = near = b.image
    for width in (16, 32, 64, 128, 256):
        near = b.conv(x, width, 3, activation="leaky")
        x = b.max_pool(near, 2)
    x = b.conv(b.conv(x, 512, 3, activation="leaky"), 1024, 3, activation="leaky")
    _tiny_heads(b, b.conv(x, 256, activation="leaky"), near)
    return b


def yolov4_tiny() -> Builder:
    """YOLOv4-tiny at 416 pixels (arXiv:2011.08036)."""
    b = Builder(416)
    x = b.conv(b.conv(b.image, 32, 3, 2, "leaky"), 64, 3, 2, "leaky")
    near = x
    for width in (64, 128, 256):
        x = b.conv(x, width, 3, activation="leaky")
        first = b.conv(b.split(x, width // 2)[1], width // 2, 3, activation="leaky")
        second = b.conv(first, width // 2, 3, activation="leaky")
        near = b.conv(b.concat(second, first), width, activation="leaky")
        x = b.max_pool(b.concat(x, near), 2)
    x = b.conv(x, 512, 3, activation="leaky")
    _tiny_heads(b, b.conv(x, 256, activation="leaky"), near)
    return b


def _tiny_heads(b: Builder, x: Tensor, near: Tensor) -> None:
    b.conv(b.conv(x, 512, 3, activation="leaky"), 255, activation=None)
    up = b.resize(b.conv(x, 128, activation="leaky"), 2)
    b.conv(b.conv(b.concat(up, near), 256, 3, activation="leaky"), 255, activation=None)


def yolo_fastest() -> Builder:
    """Yolo-Fastest 1.1 at 320 pixels."""
    b = Builder(320)
    x = b.conv(b.conv(b.image, 8, 3, 2, "leaky"), 8, activation="leaky")
    x = b.conv(b.depthwise(x, activation="leaky"), 4, activation=None)
    near = x
    # Of each block: channels inside and behind it, and its stride.
    blocks = [(8, 4, 1), (24, 8, 2), *[(32, 8, 1)] * 2, (32, 8, 2), *[(48, 8, 1)] * 2]
    blocks += [(48, 16, 1), *[(96, 16, 1)] * 4, (96, 24, 2), *[(136, 24, 1)] * 4]
    blocks += [(136, 48, 2), *[(224, 48, 1)] * 5]
    for wide, channels, stride in blocks:
        near = x if channels == 48 and stride == 2 else near
        x = inverted(b, x, wide, channels, stride=stride, activation="leaky")
    pooled = [b.max_pool(x, kernel, 1, kernel // 2) for kernel in (9, 5, 3)]
    x = b.conv(b.concat(*pooled, x), 96, activation="leaky")
    for y in (x, b.concat(b.resize(x, 2), near)):
        width = y.channels
        for _ in range(2):
            y = b.conv(b.depthwise(y, 5, activation="leaky"), width, activation=None)
        b.conv(y, 255, activation=None)
    return b
