"""Bilinear resampling along one axis, from prototype cells to the pixels of a picture."""

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]


class Resampling:
    """The way from ``cells`` to ``pixels``: cells @ ``weights``.

    Args:
        pixels: of the picture along this axis.
        scale: input pixels for each picture pixel.
        offset: where the picture begins, in input pixels.
        stride: input pixels for each cell.
        cells: along this axis.
    """

    def __init__(self, pixels: int, scale: float, offset: float, stride: int, cells: int) -> None:
        # Where the centre of each pixel lies, counted in cell centres from 0.
        centres = ((np.arange(pixels) + 0.5) * scale + offset) / stride - 0.5
        positions = np.clip(centres, 0, cells - 1)
        self._first = positions.astype(np.intp)
        self._after = np.minimum(self._first + 2, cells)  # one more than the last that counts
        self._share = positions - self._first
        self._cells = cells
        self._scale, self._offset = scale / stride, offset / stride

    @cached_property
    def weights(self) -> FloatArray:
        """(cells, pixels). Beyond the outermost cell centres the values stay constant."""
        pixels = np.arange(len(self._first))
        weights = np.zeros((self._cells, len(pixels)), dtype=np.float32)
        weights[self._after - 1, pixels] = self._share
        weights[self._first, pixels] = 1 - self._share
        weights.flags.writeable = False
        return weights

    def behind(self, points: npt.NDArray[np.floating[Any]]) -> IndexArray:
        """The first pixels (M,) whose centres lie behind ``points`` (M,), 0 or less for the first.

        Points are given in cells, 0 at the centre of the first cell.
        """
        pixels = points * (1 / self._scale)
        pixels += 0.5 + (0.5 - self._offset) / self._scale
        return pixels.astype(np.intp)

    def covered(self, cells: IndexArray, starts: FloatArray, ends: FloatArray) -> FloatArray:
        """The share (M,) of ``cells`` (M,) that picture pixels from start to end (M,) cover."""
        low, high = (v * self._scale + self._offset for v in (starts, ends))
        share = np.minimum(cells + 1, high) - np.maximum(cells, low)
        return np.asarray(np.maximum(share, 0), dtype=np.float32)

    def positions(self, cells: IndexArray, starts: FloatArray, ends: FloatArray) -> FloatArray:
        """Where the centres of ``cells`` (M,) lie between picture pixels start and end (M,).

        -1 is at the start and 1 at the end; centres beyond count as there.
        """
        middle, half = (ends + starts) / 2, (ends - starts) / 2
        centres = (cells + (0.5 - self._offset)) / self._scale
        places = (centres - middle) / half
        return np.asarray(np.minimum(np.maximum(places, -1), 1), dtype=np.float32)

    def ranges(self, starts: IndexArray, ends: IndexArray) -> tuple[IndexArray, IndexArray]:
        """The ranges of cells that pixels start..end - 1 (N,) are made of.

        A range without a pixel gets a cell near it.
        """
        last: Any = len(self._first) - 1
        first = self._first[np.minimum(starts, last)]
        after = self._after[np.maximum(ends - 1, 0)]
        return first, np.maximum(after, first + 1)


@lru_cache(maxsize=4)
def resampling(pixels: int, scale: float, offset: float, stride: int, cells: int) -> Resampling:
    """A ``Resampling``, kept for the next picture: those of a video or a folder are often alike."""
    return Resampling(pixels, scale, offset, stride, cells)
