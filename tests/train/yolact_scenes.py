"""Scenes for YOLACT's losses, which their tests import."""

from typing import Any

import torch
from torch import Tensor

from mobileyolact.train.data import Batch

BOX = [8.0, 8, 48, 40]  # in cells of stride 4: columns 2 to 11, rows 2 to 9


def batch(classes: list[int], images: list[int] | None = None, **fields: Any) -> Batch:
    """Pictures of 64 x 64, three classes, ``BOX`` for each class given, its left half masked."""
    index = images or [0] * len(classes)
    count, pictures = len(classes), fields.pop("pictures", max(index, default=0) + 1)
    masks = torch.zeros(count, 16, 16, dtype=torch.uint8)
    masks[:, 2:10, 2:7] = 255
    values: dict[str, Any] = {
        "images": torch.zeros(pictures, 3, 64, 64),
        "boxes": torch.tensor([BOX]).repeat(count, 1),
        "classes": torch.tensor(classes, dtype=torch.long),
        "masks": masks,
        "has_mask": torch.ones(count, dtype=torch.bool),
        "image_index": torch.tensor(index, dtype=torch.long),
        "labelled": torch.ones(pictures, 3, dtype=torch.bool),
        "crowd_masks": torch.zeros(0, 16, 16, dtype=torch.uint8),
        "crowd_classes": torch.zeros(0, dtype=torch.long),
        "crowd_image_index": torch.zeros(0, dtype=torch.long),
        "names": ["x"] * pictures,
        "mean": torch.zeros(3),
        "std": torch.ones(3),
    }
    return Batch(**{**values, **fields})


def only(*labelled: int) -> Tensor:
    """The pictures' labelled classes: these of one picture."""
    return torch.tensor([[index in labelled for index in range(3)]])
