"""From a picture to the network's input tensor, and the way back for coordinates."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """Where the picture lies in the network's input: ``input = image * scale + offset``.

    Coordinates run along pixel edges, x from 0 to the width: pixel column i covers [i, i + 1]
    and has its centre at i + 0.5.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    image_height: int
    image_width: int

    def boxes_to_image(self, boxes: FloatArray) -> FloatArray:
        """Boxes (N, 4) xyxy in input pixels as float32 boxes in picture pixels, not clipped."""
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        offset = np.array([self.offset_x, self.offset_y] * 2, dtype=np.float32)
        return (boxes - offset) / scale


def preprocess(
    image: npt.NDArray[np.uint8], contract: ModelContract
) -> tuple[FloatArray, Placement]:
    """Resize and normalise a picture as the contract says.

    Args:
        image: (H, W, 3) uint8 RGB.
        contract: input size, resize rule, colour order, mean and std.

    Returns:
        The tensor (1, 3, height, width) float32, C-contiguous, ``(pixel - mean) / std``; and the
        placement. Both sides are resized with OpenCV's INTER_LINEAR, which the network was
        trained with. ``letterbox`` keeps the sides' ratio and centres the picture on ``fill``.
    """
    height, width = contract.input_size
    image_height, image_width = image.shape[:2]
    new_height, new_width = height, width
    if contract.resize == "letterbox":
        scale = min(height / image_height, width / image_width)
        new_height = min(max(round(image_height * scale), 1), height)
        new_width = min(max(round(image_width * scale), 1), width)
    top, left = (height - new_height) // 2, (width - new_width) // 2
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    planes = cv2.split(resized)
    fill = contract.fill
    if contract.colour_order == "bgr":
        planes, fill = planes[::-1], fill[::-1]

    tensor = np.empty((1, 3, height, width), dtype=np.float32)
    for target, plane, mean, std, value in zip(
        tensor[0], planes, contract.mean, contract.std, fill, strict=True
    ):
        if plane.shape != target.shape:
            target[:] = (value - mean) / std
        inner = target[top : top + new_height, left : left + new_width]
        inner[:] = plane
        inner -= np.float32(mean)
        inner *= np.float32(1 / std)
    placement = Placement(
        scale_x=new_width / image_width,
        scale_y=new_height / image_height,
        offset_x=float(left),
        offset_y=float(top),
        image_height=image_height,
        image_width=image_width,
    )
    return tensor, placement
