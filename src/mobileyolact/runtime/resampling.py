"""Bilinear resampling along one axis, from prototype cells to the pixels of a picture."""

from functools import lru_cache
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

    weights: FloatArray
    """(cells, pixels). Beyond the outermost cell centres the values stay constant."""
    turned: FloatArray
    """The same as (pixels, cells)."""

    def __init__(self, pixels: int, scale: float, offset: float, stride: int, cells: int) -> None:
        # Where the centre of each pixel lies, counted in cell centres from 0.
        centres = ((np.arange(pixels) + 0.5) * scale + offset) / stride - 0.5
        positions = np.clip(centres, 0, cells - 1)
        self._first = positions.astype(np.intp)
        self._after = np.minimum(self._first + 2, cells)  # one more than the last that counts
        second = self._after - 1
        share = positions - self._first
        self.weights = np.zeros((cells, pixels), dtype=np.float32)
        self.weights[second, np.arange(pixels)] = share
        self.weights[self._first, np.arange(pixels)] = 1 - share
        self.weights.flags.writeable = False
        self.turned = np.ascontiguousarray(self.weights.T)
        self.turned.flags.writeable = False
        self._range = self._first.tolist(), self._after.tolist()
        self._scale, self._offset = scale / stride, offset / stride
        self._edges = np.arange(cells + 1, dtype=np.float32)

    def covered(self, starts: FloatArray, ends: FloatArray) -> FloatArray:
        """The share (N, cells) of every cell that picture pixels from start to end (N,) cover."""
        low, high = (v[:, None] * self._scale + self._offset for v in (starts, ends))
        share = np.minimum(self._edges[1:], high) - np.maximum(self._edges[:-1], low)
        return np.asarray(np.maximum(share, 0), dtype=np.float32)

    def positions(self, starts: FloatArray, ends: FloatArray) -> FloatArray:
        """Where cell centres lie between picture pixels start and end (N,): (N, cells).

        -1 is at the start and 1 at the end; centres beyond count as there.
        """
        middle, half = (ends + starts) / 2, (ends - starts) / 2
        centres = (self._edges[:-1] + 0.5 - self._offset) / self._scale
        return np.asarray(np.clip((centres - middle[:, None]) / half[:, None], -1, 1))

    def cells(self, start: int, end: int) -> tuple[int, int]:
        """The range of cells that pixels start..end - 1 are made of; there must be one."""
        return self._range[0][start], self._range[1][end - 1]

    def ranges(self, starts: IndexArray, ends: IndexArray) -> tuple[IndexArray, IndexArray]:
        """The same for many ranges (N,); a range without a pixel gets a cell near it."""
        last: Any = len(self._first) - 1
        first = self._first[np.minimum(starts, last)]
        after = self._after[np.maximum(ends - 1, 0)]
        return first, np.maximum(after, first + 1)


@lru_cache(maxsize=4)
def resampling(pixels: int, scale: float, offset: float, stride: int, cells: int) -> Resampling:
    """A ``Resampling``, kept for the next picture: those of a video or a folder are often alike."""
    return Resampling(pixels, scale, offset, stride, cells)
