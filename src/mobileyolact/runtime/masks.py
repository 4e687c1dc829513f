"""Masks of single instances, assembled inside their boxes only."""

from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract
from mobileyolact.runtime.candidates import sigmoid
from mobileyolact.runtime.crossings import Crossings
from mobileyolact.runtime.islands import sink_islands
from mobileyolact.runtime.position import position_in_u
from mobileyolact.runtime.preprocess import Placement
from mobileyolact.runtime.resampling import Resampling, resampling
from mobileyolact.runtime.thresholds import dice_thresholds
from mobileyolact.runtime.windows import Windows

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

_BATCH = 128


class Roi(NamedTuple):
    """The part of a picture that can hold a mask: ``bitmap`` (h, w) bool at column x, row y."""

    x: int
    y: int
    bitmap: BoolArray


class MaskSource(Protocol):
    """Gives masks by row."""

    def roi(self, row: int) -> Roi: ...


class PrototypeMasks:
    """Masks as linear combinations of prototypes (YOLACT, arXiv:1904.02689, section 3.3).

    For each instance the combination is formed on the cells under its box, with what its position
    in the box adds, resampled bilinearly to picture pixels while it is still a logit, and then
    cut. Pixel centres are mapped exactly through the placement; beyond the outermost cell centres
    the values stay constant. Pixels whose centre is outside the box are left out.

    Combinations, thresholds and edges are made for some instances together and kept, as runs of
    pixels (``Crossings``); bitmaps are made when asked for.

    Args:
        boxes: (N, 4) xyxy in picture pixels, inside the picture.
        coefficients: (N, K), activated, or (N, K + 8) with those of the position behind.
        prototypes: (K, h, w), not yet activated.
        contract: prototype stride and activation.
        placement: where the picture lies in the input.
        threshold: logit above which a pixel belongs to the mask; ``None`` chooses one for each
            mask, see ``dice_thresholds``, and leaves out small islands, see ``sink_islands``.
    """

    def __init__(
        self,
        boxes: FloatArray,
        coefficients: FloatArray,
        prototypes: FloatArray,
        contract: ModelContract,
        placement: Placement,
        threshold: float | None,
    ) -> None:
        if contract.prototype_activation == "relu":
            prototypes = np.maximum(prototypes, 0)
        self._prototypes = prototypes
        self._boxes = boxes
        count = len(prototypes)
        self._coefficients, self._position = coefficients[:, :count], coefficients[:, count:]
        # The pixels whose centres lie in each box: x1, y1, x2, y2, ends excluded.
        self._pixels = np.ceil(boxes.astype(np.float64) - 0.5).astype(np.intp)
        self._corners = self._pixels[:, :2].tolist()
        self._threshold = threshold
        self._placement, self._stride = placement, contract.prototype_stride
        self._batches: dict[int, Crossings] = {}

    def roi(self, row: int) -> Roi:
        """The mask of instance ``row`` inside its box."""
        batch = row // _BATCH
        if batch not in self._batches:
            rows = slice(batch * _BATCH, (batch + 1) * _BATCH)
            self._batches[batch] = Crossings(
                *self._combine(rows), self._pixels[rows], self._across, self._down
            )
        x, y = self._corners[row]
        return Roi(x, y, self._batches[batch].bitmap(row % _BATCH))

    @cached_property
    def _across(self) -> Resampling:
        p = self._placement
        return resampling(
            p.image_width, p.scale_x, p.offset_x, self._stride, self._prototypes.shape[2]
        )

    @cached_property
    def _down(self) -> Resampling:
        p = self._placement
        return resampling(
            p.image_height, p.scale_y, p.offset_y, self._stride, self._prototypes.shape[1]
        )

    def _combine(self, batch: slice) -> tuple[list[FloatArray], IndexArray]:
        """Logits of the cells that each mask is made of, 0 at its edge, and where they lie."""
        x1, y1, x2, y2 = self._pixels[batch].T
        edges = np.array([*self._down.ranges(y1, y2), *self._across.ranges(x1, x2)]).T
        windows = Windows(edges)
        logits = np.empty(windows.count, dtype=np.float32)
        cells = windows.pieces(logits)
        windows.combine(self._coefficients[batch], self._prototypes, cells)
        rows, columns = windows.rows, windows.columns
        low_x, low_y, high_x, high_y = self._boxes[batch].T
        low_x, high_x = low_x.take(columns.owners), high_x.take(columns.owners)
        low_y, high_y = low_y.take(rows.owners), high_y.take(rows.owners)
        if self._position.size:
            u = windows.along_columns(self._across.positions(columns.cells, low_x, high_x))
            v = self._down.positions(rows.cells, low_y, high_y)
            by_row = position_in_u(self._position[batch].take(rows.owners, axis=0), v)
            constant, linear, square = (windows.along_rows(factor) for factor in by_row)
            square *= u
            square += linear
            square *= u
            square += constant
            logits += square
        if self._threshold is None:
            shares = windows.along_columns(self._across.covered(columns.cells, low_x, high_x))
            shares *= windows.along_rows(self._down.covered(rows.cells, low_y, high_y))
            cut = dice_thresholds(sigmoid(logits), shares, windows.sizes)
            logits -= windows.each(np.log(cut / (1 - cut)))
            above = (logits > 0).view(np.uint8)
            for piece, dry in zip(cells, windows.pieces(above), strict=True):
                sink_islands(piece, dry)
        else:
            logits -= np.float32(self._threshold)
        return cells, edges
