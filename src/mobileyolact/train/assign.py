"""Task-aligned assignment: which cells learn which object (TOOD, arXiv:2108.07755)."""

from typing import NamedTuple

import torch
from torch import Tensor

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.train.boxes import pairwise_iou

SCORE_POWER = 1.0  # alpha of equation 1
IOU_POWER = 6.0  # beta of equation 1
CELLS_PER_OBJECT = 13  # m of section 3.2


class Assignment(NamedTuple):
    """Positive cells of one image: ``cells`` (P,), their ``objects`` (P,), ``targets`` (P,).

    A target is the normalised alignment of section 3.2: the best cell of an object has the
    object's best IoU. ``ranks`` (P,) order the cells that an object chose, 0 the best.
    """

    cells: Tensor
    objects: Tensor
    targets: Tensor
    ranks: Tensor


def assign(
    scores: Tensor, boxes: Tensor, centres: Tensor, true_boxes: Tensor, true_classes: Tensor
) -> Assignment:
    """Assign the cells of one image to its objects.

    An object without a class (``CLASS_AGNOSTIC``) is aligned by the cell's best class.

    Args:
        scores: (N, C) probabilities of all cells.
        boxes: (N, 4) predicted xyxy in input pixels.
        centres: (N, 2) cell centres in input pixels.
        true_boxes: (G, 4) xyxy in input pixels.
        true_classes: (G,) class indices or ``CLASS_AGNOSTIC``.
    """
    objects = len(true_boxes)
    if not objects:
        none = torch.zeros(0, dtype=torch.long, device=scores.device)
        return Assignment(none, none, scores.new_zeros(0), none)
    iou = pairwise_iou(true_boxes, boxes)
    class_scores = scores[:, true_classes.clamp(min=0)].T
    agnostic = (true_classes == CLASS_AGNOSTIC)[:, None]
    class_scores = torch.where(agnostic, scores.amax(1)[None], class_scores)
    inside = (
        (centres[None] > true_boxes[:, None, :2]) & (centres[None] < true_boxes[:, None, 2:])
    ).all(-1)
    alignment = class_scores**SCORE_POWER * iou**IOU_POWER * inside

    count = min(CELLS_PER_OBJECT, alignment.shape[1])
    best, cells = alignment.topk(count, 1)
    chosen = torch.zeros_like(alignment, dtype=torch.bool)
    chosen.scatter_(1, cells, best > 0)
    # A cell chosen by several objects goes to the one that it overlaps most (section 3.2).
    owner = torch.where(chosen, iou, -1.0).argmax(0)
    positive = chosen.any(0).nonzero()[:, 0]
    owners = owner[positive]
    kept = torch.zeros_like(chosen)
    kept[owners, positive] = True

    kept_alignment = alignment * kept
    strongest = kept_alignment.amax(1).clamp(min=1e-12)
    best_iou = (iou * kept).amax(1)
    targets = kept_alignment[owners, positive] / strongest[owners] * best_iou[owners]
    ranks = torch.zeros_like(chosen, dtype=torch.long)
    ranks.scatter_(1, cells, torch.arange(count, device=cells.device).expand_as(cells))
    return Assignment(positive, owners, targets, ranks[owners, positive])
