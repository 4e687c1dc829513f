"""YOLACT's losses: hard negatives, smooth L1, masks inside their boxes, semantic segmentation.

After arXiv:1904.02689, sections 3.3, 4 and 5, and SSD, arXiv:1512.02325, section 2.2. What these
leave open follows YOLACT's published code, with these exceptions besides those stated below: masks
as targets are covered shares, not cut at one half, and boxes crop them by the share of a cell.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.model.network import MobileYolact, Outputs, build_contract
from mobileyolact.runtime.anchors import anchor_boxes
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.masks import box_coverage, mask_logits
from mobileyolact.train.processes import mean_over_processes
from mobileyolact.train.yolact_match import MASK_STRIDE, Matches, encode, match

CLASS_WEIGHT = 1.0
BOX_WEIGHT = 1.5
MASK_WEIGHT = 6.125
SEMANTIC_WEIGHT = 1.0
NEGATIVES_PER_POSITIVE = 3
MASKS_PER_PICTURE = 100


def compute_losses(
    outputs: Outputs, batch: Batch, network: MobileYolact, config: TrainConfig
) -> dict[str, Tensor]:
    """Weighted loss terms; their sum is what is minimised.

    The weights are YOLACT's, not those of ``config``, which belong to other losses. With a frozen
    detector only the mask term is computed, without semantic logits all others. Each of several
    processes finds its part of every term: their mean is what one process would find for the
    whole batch.
    """
    scores, boxes, coefficients, prototypes = (o.float() for o in outputs.raw)
    height, width = batch.images.shape[2:]
    contract = build_contract(network.preset, (), (height, width))
    anchors = torch.from_numpy(anchor_boxes(contract)).to(scores.device)
    matches = match(anchors, batch)

    losses = {}
    if config.freeze != "detector":
        losses["class"] = CLASS_WEIGHT * class_loss(scores, matches, batch)
        losses["box"] = BOX_WEIGHT * box_loss(boxes, anchors, matches, batch)
        if outputs.semantic is not None:
            losses["semantic"] = SEMANTIC_WEIGHT * semantic_loss(outputs.semantic.float(), batch)
    mask = mask_loss(coefficients.tanh(), prototypes.relu(), matches, batch)
    losses["mask"] = MASK_WEIGHT * mask
    return losses


def class_loss(scores: Tensor, matches: Matches, batch: Batch) -> Tensor:
    """Softmax cross-entropy of all positives and of each picture's hard negatives.

    It is summed and divided by the number of positives. A negative may well show an object of a
    class that is not labelled in its picture: its loss is the negative logarithm of the
    probability that it shows nothing labelled. Without a labelled class a picture has no
    negatives. One without objects counts, and has negatives, as if it had a single positive;
    YOLACT's code leaves such pictures out.

    Args:
        scores: (B, N, C + 1) logits, the background first.
    """
    classes = batch.classes[matches.objects]
    known = classes != CLASS_AGNOSTIC
    images, anchors, classes = (t[known] for t in (matches.images, matches.anchors, classes))
    own = functional.cross_entropy(scores[images, anchors], classes + 1, reduction="sum")

    positives, teaches = _count(images, batch), batch.labelled.any(1)
    counted = torch.maximum(positives, teaches.long())
    wanted = NEGATIVES_PER_POSITIVE * counted * teaches
    possible = functional.pad(~batch.labelled, (1, 0), value=True)
    with torch.no_grad():
        loss = _background_loss(scores, possible[:, None])
        loss = loss.masked_fill(~matches.negative, -torch.inf)
        most = min(int(wanted.max()), loss.shape[1])
        hardest, anchors = loss.topk(most, 1)
        taken = torch.arange(most, device=loss.device) < wanted[:, None]
        taken &= hardest != -torch.inf
    images, columns = taken.nonzero(as_tuple=True)
    rest = _background_loss(scores[images, anchors[images, columns]], possible[images]).sum()
    return (own + rest) / mean_over_processes(counted.sum(), least=1.0)


def _background_loss(scores: Tensor, possible: Tensor) -> Tensor:
    """Negative logarithm (...) of the probability of ``possible`` (..., C + 1) bool together."""
    return scores.logsumexp(-1) - scores.masked_fill(~possible, -torch.inf).logsumexp(-1)


def box_loss(offsets: Tensor, anchors: Tensor, matches: Matches, batch: Batch) -> Tensor:
    """Smooth L1 loss of the positives' offsets, summed over the four, mean over positives.

    Objects without a class teach no boxes.

    Args:
        offsets: (B, N, 4) from ``anchors`` (N, 4).
    """
    known = batch.classes[matches.objects] != CLASS_AGNOSTIC
    images, chosen, objects = (t[known] for t in matches[:3])
    wanted = encode(batch.boxes[objects], anchors[chosen])
    loss = functional.smooth_l1_loss(offsets[images, chosen], wanted, reduction="sum")
    return loss / mean_over_processes(known.sum(), least=1.0)


def mask_loss(coefficients: Tensor, prototypes: Tensor, matches: Matches, batch: Batch) -> Tensor:
    """BCE inside the object's box divided by the box's area in cells, mean over positives.

    Of a picture with more than ``MASKS_PER_PICTURE`` positives those with the highest IoU of
    every object are taken and stand for the others. The published code draws them at random.

    Args:
        coefficients: (B, N, K) after their activation.
        prototypes: (B, K, h, w) after their activation.
    """
    usable = batch.has_mask[matches.objects]
    images, anchors, objects, overlaps = (t[usable] for t in matches[:4])
    number = mean_over_processes(usable.sum(), least=1.0)
    count = _count(images, batch)
    taken = (_rank(images, _rank(objects, -overlaps)) < MASKS_PER_PICTURE).nonzero()[:, 0]
    if not len(taken):
        return 0.0 * (coefficients.sum() + prototypes.sum())
    taken = taken[images[taken].argsort(stable=True)]  # image by image
    images, anchors, objects = images[taken], anchors[taken], objects[taken]
    share = (count / count.clamp(max=MASKS_PER_PICTURE))[images]

    logits = mask_logits(coefficients, prototypes, images, anchors)
    truth = batch.masks[objects].to(logits) / 255
    inside = _coverage(batch.boxes[objects], prototypes.shape[2:], MASK_STRIDE)
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    loss = (loss * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1e-6)
    return (loss * share).sum() / number


def semantic_loss(logits: Tensor, batch: Batch) -> Tensor:
    """BCE of every class, summed over classes, mean over pictures and cells.

    The target is the share of a cell that masks of the class cover. What they leave free teaches
    "not this class" where the class is labelled in the picture, outside of its crowds and of
    its boxes without a mask.

    Args:
        logits: (B, C, h, w) at half the resolution of the batch's masks.
    """
    drawn, shape = batch.has_mask, logits.shape[2:]
    stride = 2 * MASK_STRIDE
    masks = functional.avg_pool2d(
        batch.masks[drawn, None].to(logits) / 255, 2, ceil_mode=True, count_include_pad=False
    )
    shown = _add_up(masks[:, 0], batch.classes[drawn], batch.image_index[drawn], logits)
    crowds = functional.max_pool2d(batch.crowd_masks[:, None].to(logits), 2, ceil_mode=True)
    unknown = _add_up(crowds[:, 0], batch.crowd_classes, batch.crowd_image_index, logits)
    boxes = _coverage(batch.boxes[~drawn], shape, stride)
    unknown += _add_up(boxes, batch.classes[~drawn], batch.image_index[~drawn], logits)
    shown = shown.clamp(max=1.0)
    absent = (1 - shown) * batch.labelled[:, :, None, None] * (unknown == 0)
    loss = shown * functional.softplus(-logits) + absent * functional.softplus(logits)
    return loss.sum() / (len(logits) * shape.numel())


def _add_up(regions: Tensor, classes: Tensor, images: Tensor, like: Tensor) -> Tensor:
    """Sum (B, C, h, w) of ``regions`` (E, h, w) by picture and class, if they have a class."""
    known = classes != CLASS_AGNOSTIC
    places = (images * like.shape[1] + classes)[known]
    total = torch.zeros_like(like).flatten(0, 1)
    return total.index_add(0, places, regions[known]).view_as(like)


def _coverage(boxes: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """The share (P, h, w) of each cell of ``stride`` that a box covers."""
    return box_coverage(boxes, shape, torch.Size(stride * side for side in shape))


def _count(images: Tensor, batch: Batch) -> Tensor:
    """How often each picture (B,) occurs in ``images`` (P,)."""
    nothing = images.new_zeros(len(batch.images))
    return nothing.index_add(0, images, torch.ones_like(images))


def _rank(groups: Tensor, order: Tensor) -> Tensor:
    """The place (P,) of each element in its group, from 0, by rising ``order``."""
    rows = order.argsort(stable=True)
    rows = rows[groups[rows].argsort(stable=True)]
    ordered = groups[rows].contiguous()
    place = torch.arange(len(rows), device=rows.device) - torch.searchsorted(ordered, ordered)
    return torch.empty_like(place).scatter(0, rows, place)
