"""The reference networks by the names under which their times are published."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mobileyolact.benchmark.reference import classifiers, detectors, shufflenets
from mobileyolact.benchmark.reference.builder import Builder
from mobileyolact.benchmark.reference.shufflenets import NANO_15X


@dataclass(frozen=True)
class Reference:
    """A network, and the family of those that are built alike: they are left out together."""

    name: str
    family: str
    build: Callable[[], Builder]


REFERENCES = (
    Reference("squeezenet", "SqueezeNet", classifiers.squeezenet),
    Reference("squeezenet_ssd", "SqueezeNet", detectors.squeezenet_ssd),
    Reference("mobilenet", "MobileNet", classifiers.mobilenet),
    Reference("mobilenet_ssd", "MobileNet", detectors.mobilenet_ssd),
    Reference("mobilenet_v2", "MobileNetV2", classifiers.mobilenet_v2),
    Reference("mobilenetv2_yolov3", "MobileNetV2", detectors.mobilenetv2_yolov3),
    Reference("mobilenet_v3", "MobileNetV3", classifiers.mobilenet_v3),
    Reference("mnasnet", "MnasNet", classifiers.mnasnet),
    Reference("efficientnet_b0", "EfficientNet", classifiers.efficientnet_b0),
    Reference("resnet50", "ResNet", classifiers.resnet50),
    Reference("yolov3-tiny", "YOLO-tiny", detectors.yolov3_tiny),
    Reference("yolov4-tiny", "YOLO-tiny", detectors.yolov4_tiny),
    Reference("yolo-fastest-1.1", "Yolo-Fastest", detectors.yolo_fastest),
    Reference("yolo-fastestv2", "ShuffleNetV2", shufflenets.yolo_fastestv2),
    Reference("FastestDet", "ShuffleNetV2", shufflenets.fastest_det),
    Reference("shufflenet_v2", "ShuffleNetV2", shufflenets.shufflenet_v2),
    *(
        Reference(name, "ShuffleNetV2", partial(build, *arguments))
        for name, build, arguments in (
            ("nanodet_m", shufflenets.nanodet_m, (320,)),
            ("nanodet_m-416", shufflenets.nanodet_m, (416,)),
            ("nanodet_m-1.5x", shufflenets.nanodet_m, (320, NANO_15X)),
            ("nanodet_m-1.5x-416", shufflenets.nanodet_m, (416, NANO_15X)),
            ("nanodet-plus-m", shufflenets.nanodet_plus, (320,)),
            ("nanodet-plus-m-416", shufflenets.nanodet_plus, (416,)),
            ("nanodet-plus-m-1.5x", shufflenets.nanodet_plus, (320, NANO_15X)),
            ("nanodet-plus-m-1.5x-416", shufflenets.nanodet_plus, (416, NANO_15X)),
        )
    ),
)
"""Those whose times are in ``phones.csv``."""
