"""Pairs the instances that two models find in one picture, and compares their masks."""

from typing import NamedTuple

import numpy as np

from mobileyolact.runtime.boxes import box_iou
from mobileyolact.runtime.instances import Instances

MIN_BOX_IOU = 0.5


class Match(NamedTuple):
    """Instances of two models: indices of the ``pairs``, and of those left alone on each side."""

    pairs: tuple[tuple[int, int], ...]
    alone_a: tuple[int, ...]
    alone_b: tuple[int, ...]


def match(a: Instances, b: Instances) -> Match:
    """Pair instances of one class one to one, the best overlapping boxes first.

    Boxes of a pair have an intersection over union of at least ``MIN_BOX_IOU``.
    """
    overlap = box_iou(a.boxes, b.boxes)
    overlap[a.class_indices[:, None] != b.class_indices[None, :]] = 0.0
    pairs = []
    while overlap.size and overlap.max() >= MIN_BOX_IOU:
        i, j = divmod(int(overlap.argmax()), overlap.shape[1])
        overlap[i, :] = overlap[:, j] = 0.0
        pairs.append((i, j))
    left_a = set(range(len(a))) - {i for i, _ in pairs}
    left_b = set(range(len(b))) - {j for _, j in pairs}
    return Match(tuple(pairs), tuple(sorted(left_a)), tuple(sorted(left_b)))


def mask_iou(a: Instances, i: int, b: Instances, j: int) -> float:
    """Intersection over union of mask ``i`` of ``a`` and mask ``j`` of ``b``, 1 if both are empty.

    Only the two regions of interest are looked at, never a whole picture.
    """
    p, q = a.roi(i), b.roi(j)
    left, top = max(p.x, q.x), max(p.y, q.y)
    right = max(left, min(p.x + p.bitmap.shape[1], q.x + q.bitmap.shape[1]))
    bottom = max(top, min(p.y + p.bitmap.shape[0], q.y + q.bitmap.shape[0]))
    common = np.count_nonzero(
        p.bitmap[top - p.y : bottom - p.y, left - p.x : right - p.x]
        & q.bitmap[top - q.y : bottom - q.y, left - q.x : right - q.x]
    )
    union = np.count_nonzero(p.bitmap) + np.count_nonzero(q.bitmap) - common
    return common / union if union else 1.0
