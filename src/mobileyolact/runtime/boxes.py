"""How much boxes overlap."""

from typing import Any

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]


def intersection_and_union(a: Boxes, b: Boxes) -> tuple[Matrix, Matrix]:
    """Areas (N, M) that boxes (N, 4) and (M, 4) xyxy have in common and together, in float64."""
    ax1, ay1, ax2, ay2 = a.astype(np.float64, copy=False).T[:, :, None]
    bx1, by1, bx2, by2 = b.astype(np.float64, copy=False).T[:, None, :]
    width = np.minimum(ax2, bx2)
    width -= np.maximum(ax1, bx1)
    height = np.minimum(ay2, by2)
    height -= np.maximum(ay1, by1)
    intersection = np.maximum(width, 0, out=width)
    intersection *= np.maximum(height, 0, out=height)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
    union -= intersection
    return intersection, union


def box_iou(a: Boxes, b: Boxes) -> Matrix:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4) xyxy, 0 for boxes without area."""
    intersection, union = intersection_and_union(a, b)
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
