"""Masks of single instances, assembled inside their boxes only."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mobileyolact.contract import ModelContract
from mobileyolact.runtime.candidates import sigmoid
from mobileyolact.runtime.islands import sink_islands
from mobileyolact.runtime.position import position_factors
from mobileyolact.runtime.preprocess import Placement
from mobileyolact.runtime.resampling import Resampling, resampling
from mobileyolact.runtime.thresholds import dice_thresholds
from mobileyolact.runtime.windows import Windows

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

_CACHE_BYTES = 64 * 2**20
_BLOCK_PIXELS = 2**16  # 256 KiB of logits: what stays in a core's cache
_BLOCK_CELLS = 6
_BATCH = 128


@dataclass(frozen=True)
class Roi:
    """The part of a picture that can hold a mask: ``bitmap`` (h, w) bool at column x, row y."""

    x: int
    y: int
    bitmap: BoolArray


class MaskSource(Protocol):
    """Gives masks by row."""

    def roi(self, row: int) -> Roi: ...


class _Cut(NamedTuple):
    """Logits (r, c) of the cells under a box, from cell (top, left) on, and where to cut them."""

    logits: FloatArray
    top: int
    left: int
    threshold: np.float32


class PrototypeMasks:
    """Masks as linear combinations of prototypes (YOLACT, arXiv:1904.02689, section 3.3).

    For each instance the combination is formed on the cells under its box, with what its position
    in the box adds, resampled bilinearly to picture pixels while it is still a logit, and then
    cut. Pixel centres are mapped exactly through the placement; beyond the outermost cell centres
    the values stay constant. Pixels whose centre is outside the box are left out.

    Combinations and thresholds are made for some instances together, masks one at a time.
    Finished masks are kept as packed bits, up to 64 MiB; masks beyond that are made anew.

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
        self._coefficients, self._position = np.split(coefficients, [len(prototypes)], axis=1)
        # The pixels whose centres lie in each box: x1, y1, x2, y2, ends excluded.
        self._pixels = np.ceil(boxes.astype(np.float64) - 0.5).astype(np.intp)
        self._threshold = threshold
        self._placement, self._stride = placement, contract.prototype_stride
        self._block_rows = max(1, int(_BLOCK_CELLS * self._stride / placement.scale_y))
        self._cuts: dict[int, _Cut] = {}
        self._cache: dict[int, npt.NDArray[np.uint8]] = {}
        self._cached_bytes = 0

    def roi(self, row: int) -> Roi:
        """The mask of instance ``row`` inside its box."""
        x1, y1, x2, y2 = self._pixels[row].tolist()
        if row in self._cache:
            bits = np.unpackbits(self._cache[row], count=(y2 - y1) * (x2 - x1))
            return Roi(x1, y1, bits.view(np.bool_).reshape(y2 - y1, x2 - x1))
        bitmap = np.empty((y2 - y1, x2 - x1), dtype=bool)
        if bitmap.size:
            self._assemble(row, x1, y1, bitmap)
        packed = np.packbits(bitmap)
        if self._cached_bytes + packed.nbytes <= _CACHE_BYTES:
            self._cached_bytes += packed.nbytes
            self._cache[row] = packed
        return Roi(x1, y1, bitmap)

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

    def _assemble(self, row: int, x1: int, y1: int, bitmap: BoolArray) -> None:
        if row not in self._cuts:
            self._combine(row // _BATCH * _BATCH)
        logits, top, left, threshold = self._cuts[row]
        height, width = bitmap.shape
        wide = logits @ self._across.weights[left : left + logits.shape[1], x1 : x1 + width]
        step = max(1, min(self._block_rows, _BLOCK_PIXELS // width, height))
        pixels = np.empty((step, width), dtype=np.float32)
        for start in range(0, height, step):
            stop = start + step
            if stop > height:
                stop, pixels = height, pixels[: height - start]
            first, last = self._down.cells(y1 + start, y1 + stop)
            weights = self._down.turned[y1 + start : y1 + stop, first:last]
            np.matmul(weights, wide[first - top : last - top], out=pixels)
            np.greater(pixels, threshold, out=bitmap[start:stop])

    def _combine(self, start: int) -> None:
        """Logits and thresholds of the ``_BATCH`` instances from ``start`` on."""
        batch = slice(start, start + _BATCH)
        x1, y1, x2, y2 = self._pixels[batch].T
        low_x, low_y, high_x, high_y = self._boxes[batch].T
        edges = np.stack([*self._down.ranges(y1, y2), *self._across.ranges(x1, x2)], axis=1)
        windows = Windows(edges)
        logits = windows.combine(self._coefficients[batch], self._prototypes)
        if self._position.size:
            rows, columns = position_factors(
                self._position[batch],
                self._down.positions(low_y, high_y),
                self._across.positions(low_x, high_x),
            )
            logits += windows.products(rows, columns)
        if self._threshold is None:
            shares = windows.products(
                self._down.covered(low_y, high_y)[:, :, None],
                self._across.covered(low_x, high_x)[:, None],
            )
            cut = dice_thresholds(sigmoid(logits), shares, windows.starts)
            thresholds = np.log(cut / (1 - cut))
        else:
            thresholds = np.full(len(edges), self._threshold, dtype=np.float32)
        for i, (piece, (top, _, left, _)) in enumerate(
            zip(windows.pieces(logits), edges.tolist(), strict=True)
        ):
            if self._threshold is None:
                sink_islands(piece, thresholds[i])
            self._cuts[start + i] = _Cut(piece, top, left, thresholds[i])
