"""Masks of single instances, assembled inside their boxes only."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract
from mobileyolact.runtime.preprocess import Placement

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

_CACHE_BYTES = 64 * 2**20
_BLOCK_PIXELS = 2**18  # 1 MiB of logits: what stays in a core's cache
_BLOCK_CELLS = 8
_DICE_STEPS = 8
LOWEST_DICE_THRESHOLD = 0.2


@dataclass(frozen=True)
class Roi:
    """The part of a picture that can hold a mask: ``bitmap`` (h, w) bool at column x, row y."""

    x: int
    y: int
    bitmap: BoolArray


class MaskSource(Protocol):
    """Gives masks by row; ``box`` is the instance's box (4,) xyxy in picture pixels."""

    def roi(self, row: int, box: FloatArray) -> Roi: ...


class PrototypeMasks:
    """Masks as linear combinations of prototypes (YOLACT, arXiv:1904.02689, section 3.3).

    For each instance the combination is formed on the cells under its box, resampled
    bilinearly to picture pixels while it is still a logit, and then cut. Pixel centres are
    mapped exactly through the placement; beyond the outermost cell centres the values stay
    constant. Pixels whose centre is outside the box are left out.

    Finished masks are kept as packed bits, up to 64 MiB; masks beyond that are made anew.

    Args:
        coefficients: (N, K), activated.
        prototypes: (K, h, w), not yet activated.
        contract: prototype stride and activation.
        placement: where the picture lies in the input.
        threshold: logit above which a pixel belongs to the mask; ``None`` chooses one for each
            mask, see ``dice_threshold``.
    """

    def __init__(
        self,
        coefficients: FloatArray,
        prototypes: FloatArray,
        contract: ModelContract,
        placement: Placement,
        threshold: float | None,
    ) -> None:
        count, self._rows, self._columns = prototypes.shape
        self._prototypes = np.ascontiguousarray(prototypes).reshape(count, -1)
        self._coefficients = coefficients
        self._rectify = contract.prototype_activation == "relu"
        self._threshold = threshold
        self._placement, self._stride = placement, contract.prototype_stride
        self._block_rows = max(1, int(_BLOCK_CELLS * self._stride / placement.scale_y))
        self._cache: dict[int, tuple[int, int, tuple[int, int], npt.NDArray[np.uint8]]] = {}
        self._cached_bytes = 0

    def roi(self, row: int, box: FloatArray) -> Roi:
        """The mask of instance ``row``, which is cut by ``box``."""
        if row in self._cache:
            x, y, (height, width), packed = self._cache[row]
            bits = np.unpackbits(packed, count=height * width)
            return Roi(x, y, bits.view(np.bool_).reshape(height, width))
        x1, y1, x2, y2 = np.ceil(box.astype(np.float64) - 0.5).astype(int).tolist()
        roi = Roi(x1, y1, self._assemble(row, box, x1, y1, x2, y2))
        packed = np.packbits(roi.bitmap)
        if self._cached_bytes + packed.nbytes <= _CACHE_BYTES:
            self._cached_bytes += packed.nbytes
            self._cache[row] = (x1, y1, (y2 - y1, x2 - x1), packed)
        return roi

    @cached_property
    def _across(self) -> "_Resampling":
        p = self._placement
        return _Resampling(p.image_width, p.scale_x, p.offset_x, self._stride, self._columns)

    @cached_property
    def _down(self) -> "_Resampling":
        p = self._placement
        return _Resampling(p.image_height, p.scale_y, p.offset_y, self._stride, self._rows)

    def _assemble(self, row: int, box: FloatArray, x1: int, y1: int, x2: int, y2: int) -> BoolArray:
        bitmap = np.zeros((y2 - y1, x2 - x1), dtype=bool)
        if bitmap.size == 0:
            return bitmap
        left, right = self._across.cells(x1, x2)
        top, bottom = self._down.cells(y1, y2)
        # Whole rows of cells, because they are one matrix without a copy.
        slab = self._prototypes[:, top * self._columns : bottom * self._columns]
        if self._rectify:
            slab = np.maximum(slab, 0)
        cells = (self._coefficients[row] @ slab).reshape(bottom - top, self._columns)
        cells = cells[:, left:right]
        threshold = self._threshold
        if threshold is None:
            x_low, y_low, x_high, y_high = box.tolist()
            rows = self._down.covered(y_low, y_high, slice(top, bottom))
            columns = self._across.covered(x_low, x_high, slice(left, right))
            weights = rows[:, None] * columns
            threshold = _logit(dice_threshold(_sigmoid(cells), weights))
        wide = cells @ self._across.weights[x1:x2, left:right].T
        step = max(1, min(self._block_rows, _BLOCK_PIXELS // (x2 - x1)))
        for y in range(y1, y2, step):
            end = min(y + step, y2)
            first, last = self._down.cells(y, end)
            logits = self._down.weights[y:end, first:last] @ wide[first - top : last - top]
            np.greater(logits, np.float32(threshold), out=bitmap[y - y1 : end - y1])
        return bitmap


def dice_threshold(probabilities: FloatArray, weights: FloatArray) -> float:
    """Where to cut a mask so that its Dice coefficient can be expected to be greatest.

    That is at half of the Dice coefficient which the cut then reaches (Lipton et al.,
    arXiv:1402.1892, theorem 1), found by Dinkelbach's iteration. A mask that is sure of itself is
    cut near 0.5, a doubtful one lower, where with 0.5 it would shrink.

    Args:
        probabilities: of the cells, any shape.
        weights: how much each cell counts, of the same shape: the share that the box covers.

    Returns:
        The threshold, not below 0.2: nothing is filled that is hardly there.
    """
    flat = probabilities.ravel()
    sums = np.empty((2, flat.size), np.float32)
    sums[1] = weights.ravel()
    np.multiply(flat, sums[1], out=sums[0])
    total, threshold = float(sums[0].sum()), 0.5
    for _ in range(_DICE_STEPS):
        likely, size = (sums @ (flat > threshold).astype(np.float32)).tolist()
        reached = likely / (total + size) if total + size else 0.0
        if reached == threshold:
            break
        threshold = reached
    return max(threshold, LOWEST_DICE_THRESHOLD)


def _sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


class _Resampling:
    """Bilinear resampling along one axis: ``weights`` (pixels, cells) float32."""

    def __init__(self, pixels: int, scale: float, offset: float, stride: int, cells: int) -> None:
        # Where the centre of each pixel lies, counted in cell centres from 0.
        centres = ((np.arange(pixels) + 0.5) * scale + offset) / stride - 0.5
        self._positions = np.clip(centres, 0, cells - 1)
        self._count = cells
        self._scale, self._offset = scale / stride, offset / stride
        self._edges = np.arange(cells + 1, dtype=np.float32)
        first = self._positions.astype(np.intp)
        second = np.minimum(first + 1, cells - 1)
        share = self._positions - first
        self.weights = np.zeros((pixels, cells), dtype=np.float32)
        self.weights[np.arange(pixels), second] = share
        self.weights[np.arange(pixels), first] = 1 - share

    def covered(self, start: float, end: float, cells: slice) -> FloatArray:
        """The share of each of ``cells`` that picture pixels from ``start`` to ``end`` cover."""
        low, high = (value * self._scale + self._offset for value in (start, end))
        left, right = self._edges[cells], self._edges[cells.start + 1 : cells.stop + 1]
        return np.asarray(np.maximum(np.minimum(right, high) - np.maximum(left, low), 0))

    def cells(self, start: int, end: int) -> tuple[int, int]:
        """The range of cells that pixels start..end - 1 are made of."""
        last = int(self._positions[end - 1])
        return int(self._positions[start]), min(last + 2, self._count)
