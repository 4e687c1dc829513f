"""What all networks share: the raw outputs, and the names of their parts."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mobileyolact.model.presets import Preset


class Outputs(NamedTuple):
    """Raw outputs; N rows (cells, or anchors of all cells), C classes, K prototypes.

    scores (B, N, C) logits, or (B, N, C + 1) with the background first; boxes (B, N, 4 *
    (reg_max + 1)) logits of the distance bins, left, top, right, bottom, or (B, N, 4) offsets
    from the anchors; coefficients (B, N, K) and prototypes (B, K, H / 4, W / 4) before their
    activation; semantic (B, C, H / 8, W / 8) logits, only of anchor networks in train mode.
    """

    scores: Tensor
    boxes: Tensor
    coefficients: Tensor
    prototypes: Tensor
    semantic: Tensor | None = None

    @property
    def raw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors that a runtime reads."""
        return self[:4]


class MobileYolact(nn.Module):
    """A network of ``preset`` for so many ``classes``.

    ``forward`` maps normalised images (B, 3, H, W) float32 to ``Outputs``. A network is made of
    ``backbone``, ``neck``, ``head`` and ``prototypes``, by these names in every checkpoint; what
    it has besides serves training alone.
    """

    def __init__(self, preset: Preset, classes: int) -> None:
        super().__init__()
        self.preset = preset
        self.classes = classes

    def reset_outputs(self, generator: torch.Generator) -> None:
        """After ``layers.initialise``: start the outputs smaller than what leads to them."""
        raise NotImplementedError
