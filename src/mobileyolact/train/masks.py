"""Masks of single cells as logits, which losses compare, and where they count."""

import torch
from torch import Tensor

from mobileyolact.model.network import Outputs


def placed_mask_logits(
    outputs: Outputs, images: Tensor, cells: Tensor, boxes: Tensor, input_shape: torch.Size
) -> Tensor:
    """Masks (P, h, w) of ``cells`` (P,), those of their position in ``boxes`` (P, 4) included.

    Args:
        outputs: raw; coefficients beyond the number of prototypes are those of the position.
        images: (P,) in order.
        boxes: xyxy in pixels of an input of ``input_shape``.
    """
    count = outputs.prototypes.shape[1]
    coefficients = outputs.coefficients[..., :count].tanh()
    logits = mask_logits(coefficients, outputs.prototypes, images, cells)
    position = outputs.coefficients[images, cells, count:]
    if not position.shape[1]:
        return logits
    return logits + position_logits(position, boxes, logits.shape[1:], input_shape)


def mask_logits(coefficients: Tensor, prototypes: Tensor, images: Tensor, cells: Tensor) -> Tensor:
    """Masks (P, h, w) as logits of the cells (P,) in ``images`` (P,), which have to be in order.

    Args:
        coefficients: (B, N, K) after their activation.
        prototypes: (B, K, h, w).
    """
    counts = torch.bincount(images, minlength=len(prototypes)).tolist()
    rows = coefficients[images, cells].split(counts)
    return torch.cat(
        [row @ prototype.flatten(1) for row, prototype in zip(rows, prototypes, strict=True)]
    ).unflatten(1, prototypes.shape[2:])


def position_logits(
    coefficients: Tensor, boxes: Tensor, shape: torch.Size, input_shape: torch.Size
) -> Tensor:
    """The polynomials (P, h, w) of ``mobileyolact.runtime.position`` with coefficients (P, 8)."""

    def powers(axis: int, cells: int) -> Tensor:
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        centres = torch.arange(0.5, cells, device=boxes.device) * (input_shape[1 - axis] / cells)
        place = ((2 * centres - low - high) / (high - low).clamp(min=1e-6)).clamp(-1, 1)
        return torch.stack([torch.ones_like(place), place, place.square()], 2)

    one, u, v, uu, uv, vv, uuv, uvv = coefficients.unbind(1)
    rows = torch.stack([one, u, uu, v, uv, uuv, vv, uvv, torch.zeros_like(one)], 1)
    by_powers = rows.unflatten(1, (3, 3))
    return powers(1, shape[0]) @ by_powers @ powers(0, shape[1]).transpose(1, 2)


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
