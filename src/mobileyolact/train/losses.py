"""Losses: quality focal classification, GIoU and DFL boxes, BCE masks."""

import torch
from torch import Tensor
from torch.nn import functional

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.model.network import MobileYolact, Outputs
from mobileyolact.train.assign import CELLS_PER_OBJECT, Positives, assign
from mobileyolact.train.boxes import (
    cell_centres,
    distances_to_boxes,
    expected_distances,
    giou,
)
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.masks import box_coverage, placed_mask_logits
from mobileyolact.train.processes import mean_over_processes, rank_and_world

# They bound memory and time of the mask loss, over all processes.
MASKS_PER_BATCH = 480
MASKS_PER_PICTURE = 30  # of large batches


def compute_losses(
    outputs: Outputs, batch: Batch, network: MobileYolact, config: TrainConfig
) -> dict[str, Tensor]:
    """Weighted loss terms; their sum is what is minimised.

    With a frozen detector only the mask terms are computed. Each of several processes finds its
    part of every term: their mean is what one process would find for the whole batch.
    """
    outputs = in_float32(outputs)
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
    losses["mask_bce"] = config.mask_bce_weight * mask_loss(outputs, positives, batch)
    return losses


def in_float32(outputs: Outputs) -> Outputs:
    """The four outputs as float32, whatever precision the network computes in."""
    return Outputs(*(o.float() for o in outputs[:4]))


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
    return (loss * weight).sum() / mean_over_processes(quality[known].sum(), least=1.0)


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
    total = mean_over_processes(quality.sum(), least=1.0)
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


def mask_loss(outputs: Outputs, positives: Positives, batch: Batch) -> Tensor:
    """Mean over masks of the BCE inside the box, divided by its area (arXiv:1904.02689, 3.2)."""
    pictures = len(outputs.prototypes)
    chosen = within_budget(positives, batch.has_mask[positives.objects], pictures)
    number = mean_over_processes(outputs.prototypes.new_tensor(len(chosen)), least=1.0)
    if not len(chosen):
        return 0.0 * (outputs.coefficients.sum() + outputs.prototypes.sum())
    images, cells, objects = (t[chosen] for t in positives[:3])
    boxes, input_shape = batch.boxes[objects], batch.images.shape[2:]
    logits = placed_mask_logits(outputs, images, cells, boxes, input_shape)
    truth = batch.masks[objects].to(logits) / 255
    inside = box_coverage(boxes, logits.shape[1:], input_shape)
    area = inside.sum((1, 2)).clamp(min=1e-6)
    bce = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return ((bce * inside).sum((1, 2)) / area).sum() / number


def within_budget(positives: Positives, usable: Tensor, pictures: int) -> Tensor:
    """Which of the ``usable`` (P,) positives teach their masks: indices, image by image.

    The best cell of every object comes first, then every second best, and so on, until the whole
    batch has its share. Processes tell each other how many they have of each, so that together
    they choose what one process would.

    Args:
        pictures: how many pictures of the batch this process has.
    """
    rank, world = rank_and_world()
    found = usable.nonzero()[:, 0]
    group = positives.ranks[found] * pictures + positives.images[found]
    own = torch.bincount(group, minlength=CELLS_PER_OBJECT * pictures)
    counts = own.new_zeros(CELLS_PER_OBJECT, pictures, world)  # picture i is i * world + rank
    counts[..., rank] = own.view(-1, pictures)
    counts = (mean_over_processes(counts) * world).round().long()
    most = max(MASKS_PER_BATCH, MASKS_PER_PICTURE * pictures * world)
    before = counts.flatten().cumsum(0).view_as(counts) - counts
    room = (most - before)[..., rank].flatten()

    order = group.argsort(stable=True)
    place = torch.arange(len(order), device=order.device) - (own.cumsum(0) - own)[group[order]]
    chosen = found[order[place < room[group[order]]]]
    return chosen[positives.images[chosen].argsort(stable=True)]
