"""Non-maximum suppression: of boxes of one class that overlap too much, keep the best.

Boxes are (N, 4) xyxy; two boxes of one class conflict where their intersection over union is
larger than the threshold. Equal scores are taken in the order given.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from mobileyolact.runtime.boxes import intersection_and_union

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating[Any]]
IndexArray = npt.NDArray[np.intp]

_BLOCK = 96
_FAST_TOP = 200  # candidates of one class, as in YOLACT's own configuration


def nms(
    boxes: FloatArray,
    scores: FloatArray,
    classes: npt.NDArray[np.integer[Any]],
    threshold: float,
    limit: int | None = None,
) -> IndexArray:
    """Exact greedy suppression within each class.

    Args:
        boxes: (N, 4) xyxy in any unit.
        scores: (N,).
        classes: (N,) class of each box.
        threshold: largest intersection over union that two kept boxes of one class may have.
        limit: stop after this many kept boxes.

    Returns:
        Indices of the kept boxes, best score first.
    """
    limit = len(boxes) if limit is None else limit
    order = np.argsort(-scores, kind="stable")
    sorted_boxes, sorted_classes = boxes.take(order, axis=0).astype(np.float64), classes[order]
    kept: list[int] = []
    # Block by block: one matrix of overlaps instead of one row for each kept box, and no more
    # blocks than the limit needs.
    for start in range(0, len(order), _BLOCK):
        if len(kept) >= limit:
            break
        block = np.arange(start, min(start + _BLOCK, len(order)))
        if kept:
            block = block[~_conflicts(sorted_boxes, sorted_classes, kept, block, threshold).any(0)]
        free = ~_conflicts(sorted_boxes, sorted_classes, block, block, threshold)
        alive = np.ones(len(block), dtype=bool)
        for i, candidate in enumerate(block.tolist()):
            if alive[i]:
                kept.append(candidate)
                alive &= free[i]
    return order[kept[:limit]]


def fast_nms(
    boxes: FloatArray,
    scores: FloatArray,
    classes: npt.NDArray[np.integer[Any]],
    threshold: float,
    limit: int | None = None,
) -> IndexArray:
    """Fast NMS of YOLACT (arXiv:1904.02689, section 5).

    A box is dropped where any better box of its class conflicts with it, even one that is
    itself dropped; of each class only the best 200 boxes take part. Arguments and result as
    for ``nms``.
    """
    order = np.argsort(-scores, kind="stable")
    keep = np.zeros(len(order), dtype=bool)
    for label in np.unique(classes):
        places = np.flatnonzero(classes[order] == label)[:_FAST_TOP]
        members = order[places]
        conflicts = _conflicts(boxes, classes, members, members, threshold)
        keep[places] = ~np.triu(conflicts, 1).any(axis=0)
    return order[keep][:limit]


def _conflicts(
    boxes: FloatArray,
    classes: npt.NDArray[np.integer[Any]],
    first: IndexArray | list[int],
    second: IndexArray | list[int],
    threshold: float,
) -> BoolArray:
    """The matrix of conflicts of some boxes with others."""
    intersection, union = intersection_and_union(
        boxes.take(first, axis=0), boxes.take(second, axis=0)
    )
    same_class = classes[first][:, None] == classes[second][None, :]
    return np.asarray((intersection > threshold * union) & same_class)
