"""Losses: quality focal classification, GIoU and DFL boxes, BCE and Dice masks."""

import torch
from torch import Tensor
from torch.nn import functional

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.model.network import MobileYolact, Outputs
from mobileyolact.train.assign import Positives, assign
from mobileyolact.train.boxes import (
    cell_centres,
    distances_to_boxes,
    expected_distances,
    giou,
)
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch

# They bound memory and time of the mask loss.
MASKS_PER_BATCH = 480
MASKS_PER_PICTURE = 30  # of large batches


def compute_losses(
    outputs: Outputs, batch: Batch, network: MobileYolact, config: TrainConfig
) -> dict[str, Tensor]:
    """Weighted loss terms; their sum is what is minimised.

    With a frozen detector only the mask terms are computed.
    """
    outputs = Outputs(*(o.float() for o in outputs))
    preset, size = network.preset, (batch.images.shape[2], batch.images.shape[3])
    centres, strides = (t.to(outputs.scores.device) for t in cell_centres(size, preset.strides))
    boxes = distances_to_boxes(expected_distances(outputs.boxes), centres, strides)
    positives = assign(outputs.scores.detach(), boxes.detach(), centres, batch)

    losses = {}
    if config.freeze != "detector":
        losses["class"] = config.class_weight * class_loss(
            outputs.scores, positives, batch, centres
        )
        box, dfl = box_losses(outputs.boxes, boxes, positives, batch, centres, strides)
        losses["box"], losses["dfl"] = config.box_weight * box, config.dfl_weight * dfl
    bce, dice = mask_losses(outputs.coefficients.tanh(), outputs.prototypes, positives, batch)
    losses["mask_bce"] = config.mask_bce_weight * bce
    losses["mask_dice"] = config.mask_dice_weight * dice
    return losses


def class_loss(scores: Tensor, positives: Positives, batch: Batch, centres: Tensor) -> Tensor:
    """Quality focal loss (arXiv:2006.04388, equation 2, beta 2) over the cells that are known.

    A cell teaches "not this class" only where the class is completely labelled in the picture
    and no crowd of that class covers the cell.
    """
    images, cells, objects, quality, _ = positives
    classes = batch.classes[objects]
    known = classes != CLASS_AGNOSTIC
    at = (images[known], cells[known], classes[known])
    target, weight = torch.zeros_like(scores), torch.zeros_like(scores)
    weight += batch.labelled[:, None].to(weight)
    for mask, image, index in zip(
        batch.crowd_masks, batch.crowd_image_index, batch.crowd_classes, strict=True
    ):
        weight[image, :, index] *= ~_inside(mask, centres, batch)
    target[at] = quality[known]
    weight[at] = 1.0
    error = (target - scores.sigmoid()).abs().square()
    loss = error * functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    return (loss * weight).sum() / quality[known].sum().clamp(min=1.0)


def _inside(mask: Tensor, centres: Tensor, batch: Batch) -> Tensor:
    """Which cell centres (N,) lie inside ``mask``, which covers the whole input."""
    step = batch.images.shape[2] // mask.shape[0]
    x, y = (centres / step).long().unbind(1)
    return mask[y.clamp(max=mask.shape[0] - 1), x.clamp(max=mask.shape[1] - 1)] > 127


def box_losses(
    distributions: Tensor,
    boxes: Tensor,
    positives: Positives,
    batch: Batch,
    centres: Tensor,
    strides: Tensor,
) -> tuple[Tensor, Tensor]:
    """GIoU loss and distribution focal loss (arXiv:2006.04388, equation 6).

    Both are weighted by the targets. Objects without a class teach no boxes.
    """
    images, cells, objects, quality, _ = positives
    known = batch.classes[objects] != CLASS_AGNOSTIC
    images, cells, objects, quality = (t[known] for t in (images, cells, objects, quality))
    total = quality.sum().clamp(min=1.0)
    true = batch.boxes[objects]
    overlap = ((1 - giou(boxes[images, cells], true)) * quality).sum() / total

    logits = distributions[images, cells].unflatten(-1, (4, -1))
    last = logits.shape[-1] - 1
    centre = centres[cells]
    distances = torch.cat([centre - true[:, :2], true[:, 2:] - centre], 1) / strides[cells, None]
    distances = distances.clamp(0, last - 1e-3)
    low = distances.floor()
    log_probabilities = logits.log_softmax(-1)
    at_low = log_probabilities.gather(-1, low.long()[..., None])[..., 0]
    at_high = log_probabilities.gather(-1, low.long()[..., None] + 1)[..., 0]
    dfl = -((low + 1 - distances) * at_low + (distances - low) * at_high).mean(-1)
    return overlap, (dfl * quality).sum() / total


def mask_losses(
    coefficients: Tensor, prototypes: Tensor, positives: Positives, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Mean over masks of BCE divided by the box's area, and of the Dice loss, inside the box.

    Args:
        coefficients: (B, N, K) after their activation.
        prototypes: (B, K, h, w).
    """
    usable = batch.has_mask[positives.objects]
    order = torch.where(usable, positives.ranks, len(positives.ranks) + 10_000)
    most = max(MASKS_PER_BATCH, MASKS_PER_PICTURE * len(prototypes))
    chosen = order.argsort(stable=True)[: min(most, int(usable.sum()))]
    if not len(chosen):
        nothing = 0.0 * (coefficients.sum() + prototypes.sum())
        return nothing, nothing
    chosen = chosen[positives.images[chosen].argsort(stable=True)]  # image by image
    images, cells, objects = (t[chosen] for t in positives[:3])
    counts = torch.bincount(images, minlength=len(prototypes)).tolist()
    rows = coefficients[images, cells].split(counts)
    logits = torch.cat(
        [row @ prototype.flatten(1) for row, prototype in zip(rows, prototypes, strict=True)]
    ).unflatten(1, prototypes.shape[2:])
    truth = batch.masks[objects].to(logits) / 255
    inside = box_coverage(batch.boxes[objects], prototypes.shape[2:], batch.images.shape[2:])
    area = inside.sum((1, 2)).clamp(min=1e-6)
    bce = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    bce = (bce * inside).sum((1, 2)) / area
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth * inside).sum((1, 2)) + 1
    total = ((probability.square() + truth.square()) * inside).sum((1, 2)) + 1
    dice = 1 - overlap / total
    return bce.mean(), dice.mean()


def box_coverage(boxes: Tensor, shape: torch.Size, input_shape: torch.Size) -> Tensor:
    """The share (P, h, w) of each prototype cell that a box covers.

    Cells that a box only touches count for as much as they lie inside: with all of them in
    full, the surroundings would outweigh small objects and their masks would shrink.
    """
    scale = boxes.new_tensor([shape[1] / input_shape[1], shape[0] / input_shape[0]])
    low, high = boxes[:, :2] * scale, boxes[:, 2:] * scale

    def share(axis: int, cells: int) -> Tensor:
        left = torch.arange(cells, device=boxes.device)
        start, end = low[:, axis, None], high[:, axis, None]
        return (torch.minimum(end, left + 1) - torch.maximum(start, left)).clamp(min=0)

    return share(1, shape[0])[:, :, None] * share(0, shape[1])[:, None]
