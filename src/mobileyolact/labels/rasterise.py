"""Polygons to masks."""

import cv2
import numpy as np
import numpy.typing as npt

Polygons = tuple[tuple[float, ...], ...]

# OpenCV also fills the pixels that the outline passes through. Drawn this much larger, then
# decided by the covered share, the mask is exact to an eighth of a pixel.
_FACTOR = 4


def rasterise(polygons: Polygons, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The union (height, width) of polygons (x, y, x, y, ...) in picture pixels.

    A pixel belongs to the mask if about half of it is covered; pixel (0, 0) spans 0..1.
    """
    mask = np.zeros((height, width), bool)
    points = [np.asarray(p, np.float64).reshape(-1, 2) for p in polygons]
    low = np.floor(np.clip(np.min([p.min(0) for p in points], 0), 0, [width, height])).astype(int)
    high = np.ceil(np.clip(np.max([p.max(0) for p in points], 0), 0, [width, height])).astype(int)
    if (high <= low).any():
        return mask
    (x0, y0), (x1, y1) = low, high
    canvas = np.zeros(((y1 - y0) * _FACTOR, (x1 - x0) * _FACTOR), np.uint8)
    for polygon in points:
        scaled = (polygon - low) * _FACTOR - 0.5
        cv2.fillPoly(canvas, [np.rint(scaled * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    covered = cv2.resize(
        canvas * np.uint8(16 * 15), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA
    )
    mask[y0:y1, x0:x1] = covered >= 8 * 15
    return mask
