"""Task-aligned assignment: which cells learn which object (TOOD, arXiv:2108.07755)."""

from typing import NamedTuple

import torch
from torch import Tensor

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.train.boxes import paired_iou
from mobileyolact.train.data import Batch

SCORE_POWER = 1.0  # alpha of equation 1
IOU_POWER = 6.0  # beta of equation 1
CELLS_PER_OBJECT = 13  # m of section 3.2


class Positives(NamedTuple):
    """Positive cells of a batch, image by image; all tensors (P,).

    ``images`` and ``cells`` say where, ``objects`` index the batch's objects. A target is the
    normalised alignment of section 3.2: the best cell of an object has the object's best IoU.
    ``ranks`` order the cells that an object chose, 0 the best.
    """

    images: Tensor
    cells: Tensor
    objects: Tensor
    targets: Tensor
    ranks: Tensor


def assign(scores: Tensor, boxes: Tensor, centres: Tensor, batch: Batch) -> Positives:
    """Assign the cells of every image of a batch to its M objects.

    An object without a class (``CLASS_AGNOSTIC``) is aligned by the cell's best class.

    Args:
        scores: (B, N, C) logits of all cells.
        boxes: (B, N, 4) predicted xyxy in input pixels.
        centres: (N, 2) cell centres in input pixels.
        batch: its ``boxes``, ``classes`` and ``image_index`` are used.
    """
    images, true_boxes = batch.image_index, batch.boxes
    iou = paired_iou(true_boxes[:, None], boxes[images])
    agnostic = (batch.classes == CLASS_AGNOSTIC)[:, None]
    own = scores[images, :, batch.classes.clamp(min=0)]
    class_scores = torch.where(agnostic, scores.amax(2)[images], own).sigmoid()
    inside = (
        (centres[None] > true_boxes[:, None, :2]) & (centres[None] < true_boxes[:, None, 2:])
    ).all(-1)
    alignment = class_scores**SCORE_POWER * iou**IOU_POWER * inside

    count = min(CELLS_PER_OBJECT, alignment.shape[1])
    best, cells = alignment.topk(count, 1)
    chosen = torch.zeros_like(alignment, dtype=torch.bool)
    chosen.scatter_(1, cells, best > 0)
    # A cell chosen by several objects goes to the one that it overlaps most (section 3.2), the
    # first of equals.
    wanted = torch.where(chosen, iou, -1.0)
    in_image = images[:, None].expand_as(iou)
    most = iou.new_full(boxes.shape[:2], -1.0).scatter_reduce(0, in_image, wanted, "amax")
    number = torch.arange(len(iou), device=iou.device)[:, None].expand_as(iou)
    contenders = torch.where(chosen & (wanted == most[images]), number, len(iou))
    first = number.new_full(boxes.shape[:2], len(iou))
    kept = contenders == first.scatter_reduce(0, in_image, contenders, "amin")[images]
    kept &= chosen

    kept_alignment = alignment * kept
    strongest = kept_alignment.amax(1).clamp(min=1e-12)
    best_iou = (iou * kept).amax(1)
    targets = kept_alignment / strongest[:, None] * best_iou[:, None]
    ranks = torch.zeros_like(number)
    ranks = ranks.scatter(1, cells, torch.arange(count, device=cells.device).expand_as(cells))
    owners, positive = kept.nonzero(as_tuple=True)
    return Positives(
        images[owners], positive, owners, targets[owners, positive], ranks[owners, positive]
    )
