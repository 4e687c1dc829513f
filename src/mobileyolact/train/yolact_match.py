"""Matching of anchors and objects, and box offsets, as SSD (arXiv:1512.02325) and YOLACT do it."""

from typing import NamedTuple

import torch
from torch import Tensor

from mobileyolact.runtime.anchors import VARIANCES
from mobileyolact.train.boxes import paired_iou
from mobileyolact.train.data import Batch

POSITIVE_IOU = 0.5  # SSD, section 2.2
NEGATIVE_IOU = 0.4  # YOLACT's published code; from here to POSITIVE_IOU an anchor is ignored
CROWD_SHARE = 0.7  # of an anchor inside a crowd, from which on it is no negative
MASK_STRIDE = 4  # of a batch's masks
_CHOSEN = 2.0  # above every IoU


class Matches(NamedTuple):
    """The anchors of a batch that show an object, and those that show none.

    ``images``, ``anchors`` and ``objects`` (P,) say where the positives are and index the
    batch's objects; ``overlaps`` (P,) are their IoUs. ``negative`` (B, N) bool. An anchor that is
    neither teaches nothing.
    """

    images: Tensor
    anchors: Tensor
    objects: Tensor
    overlaps: Tensor
    negative: Tensor


def match(anchors: Tensor, batch: Batch) -> Matches:
    """Match the anchors of every picture of a batch to its M objects.

    An anchor belongs to the object that it overlaps most. Each object has one anchor for sure,
    however little that overlaps it.

    Args:
        anchors: (N, 4) cx, cy, w, h in input pixels.
        batch: its ``boxes``, ``image_index`` and crowds are used.
    """
    owners, places = batch.image_index, len(batch.images) * len(anchors)
    corners = to_corners(anchors)
    iou = paired_iou(batch.boxes[:, None], corners[None])
    strength = torch.where(_own_anchors(iou, owners, places), _CHOSEN, iou)
    place = owners[:, None] * len(anchors) + torch.arange(len(anchors), device=iou.device)
    won, most = _contest(strength.flatten(), place.flatten(), places)
    positive = won.view_as(iou) & (strength >= POSITIVE_IOU)
    objects, chosen = positive.nonzero(as_tuple=True)
    negative = most.view(len(batch.images), -1) < NEGATIVE_IOU
    negative &= ~_in_crowd(corners, batch)
    return Matches(owners[objects], chosen, objects, iou[objects, chosen], negative)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Offsets (P, 4) of ``boxes`` (P, 4) xyxy from ``anchors`` (P, 4) cx, cy, w, h.

    SSD, section 2.2, in units of the variances of its published code.
    """
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - anchors[:, :2]
    growth = (boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:]
    return torch.cat([shift / anchors[:, 2:] / VARIANCES[0], growth.log() / VARIANCES[1]], 1)


def to_corners(anchors: Tensor) -> Tensor:
    """Boxes (N, 4) xyxy of ``anchors`` (N, 4) cx, cy, w, h."""
    centres, half = anchors[:, :2], anchors[:, 2:] / 2
    return torch.cat([centres - half, centres + half], 1)


def _own_anchors(iou: Tensor, owners: Tensor, places: int) -> Tensor:
    """For each object the one anchor (M, N) bool that it gets for sure.

    Of all pairs in a picture the one with the highest IoU is joined, then the next of those
    left, and so on. Here all objects choose at once, and who loses an anchor to a better one
    chooses again, which ends in the same pairs. Objects that overlap no anchor get none.
    """
    left = iou.clone()
    rows = torch.arange(len(iou), device=iou.device)
    while True:
        overlaps, chosen = left.max(1)
        won, _ = _contest(overlaps, owners * iou.shape[1] + chosen, places)
        lost = ~won & (overlaps > 0)
        if not lost.any():
            break
        left[rows[lost], chosen[lost]] = -1.0
    own = torch.zeros_like(iou, dtype=torch.bool)
    own[rows, chosen] = overlaps > 0
    return own


def _contest(values: Tensor, place: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """Who of E contenders wins the place that it wants, and the highest value at each place.

    Args:
        values: (E,); the highest wins, of equals the first.
        place: (E,) which of the places each contender wants.
        places: how many there are.

    Returns:
        (E,) bool and (places,), -1 where nobody wants to be.
    """
    most = values.new_full((places,), -1.0).scatter_reduce(0, place, values, "amax")
    number = torch.arange(len(values), device=values.device)
    contending = torch.where(values == most[place], number, len(values))
    first = number.new_full((places,), len(values)).scatter_reduce(0, place, contending, "amin")
    return number == first[place], most


def _in_crowd(corners: Tensor, batch: Batch) -> Tensor:
    """Which anchors (B, N) lie inside the box of a crowd, with ``CROWD_SHARE`` of their area."""
    crowds = _surrounding_boxes(batch.crowd_masks)[:, None]
    low = torch.maximum(crowds[..., :2], corners[:, :2])
    high = torch.minimum(crowds[..., 2:], corners[:, 2:])
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    inside = ((high - low).clamp(min=0).prod(2) >= CROWD_SHARE * areas).float()
    found = inside.new_zeros(len(batch.images), len(corners))
    return found.index_add(0, batch.crowd_image_index, inside) > 0


def _surrounding_boxes(masks: Tensor) -> Tensor:
    """Boxes (Q, 4) xyxy in input pixels around ``masks`` (Q, h, w); empty ones around nothing."""

    def span(hit: Tensor) -> tuple[Tensor, Tensor]:
        cells = torch.arange(hit.shape[1], device=hit.device)
        first = torch.where(hit, cells, hit.shape[1]).amin(1)
        return first, torch.where(hit, cells + 1, 0).amax(1)

    (left, right), (top, bottom) = span(masks.amax(1) > 0), span(masks.amax(2) > 0)
    return torch.stack([left, top, right, bottom], 1).float() * MASK_STRIDE
