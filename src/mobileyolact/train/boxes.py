"""Boxes on tensors: cell centres, decoding of distributions, IoU and GIoU."""

import torch
from torch import Tensor


def cell_centres(
    size: tuple[int, int], strides: tuple[int, ...], offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Centres (N, 2) as (x, y) in input pixels and strides (N,) of all cells, float32.

    Order: level by level, row by row, as the contract says. ``size`` is (height, width).
    """
    centres, cell_strides = [], []
    for stride in strides:
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres.append((torch.stack([x, y], 2).reshape(-1, 2) + offset) * stride)
        cell_strides.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(centres).float(), torch.cat(cell_strides)


def expected_distances(boxes: Tensor) -> Tensor:
    """Mean (..., 4) of the four distributions in ``boxes`` (..., 4 * bins), in strides.

    Generalized focal loss, arXiv:2006.04388, equation 5.
    """
    logits = boxes.unflatten(-1, (4, -1))
    bins = torch.arange(logits.shape[-1], device=boxes.device, dtype=boxes.dtype)
    return logits.softmax(-1) @ bins


def distances_to_boxes(distances: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Boxes (..., N, 4) xyxy in input pixels of ``distances`` (..., N, 4) in strides."""
    pixels = distances * strides[:, None]
    return torch.cat([centres - pixels[..., :2], centres + pixels[..., 2:]], -1)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (...) of boxes ``a`` and ``b`` (..., 4), both xyxy; shapes are broadcast."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = (box[..., 2:].sub(box[..., :2]).clamp(min=0).prod(-1) for box in (a, b))
    return intersection / (area_a + area_b - intersection).clamp(min=1e-9)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (P,) of matched boxes (P, 4) xyxy (arXiv:1902.09630, algorithm 1)."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = (box[:, 2:].sub(box[:, :2]).clamp(min=0).prod(-1) for box in (a, b))
    union = (area_a + area_b - intersection).clamp(min=1e-9)
    outer_low, outer_high = torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])
    outer = (outer_high - outer_low).clamp(min=0).prod(-1).clamp(min=1e-9)
    return intersection / union - (outer - union) / outer
