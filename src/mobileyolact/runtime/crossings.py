"""Masks by where each column of pixels crosses their edge.

Between the centres of two rows of cells, bilinear values are linear down a column of pixels, so
they cross zero there at most once. That is found for every column and every such gap, a tenth as
many as pixels at 1080p; a pixel then takes a subtraction and a comparison of bytes.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobileyolact.runtime.resampling import Resampling

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]
Codes = npt.NDArray[np.unsignedinteger[Any]]

_GROUP = 2**17  # values: with more, nothing is gained and memory is lost


class _Window(NamedTuple):
    """Its cells and their columns, the pixels, the first gap, and rows with repeated ones."""

    cells: FloatArray
    left: int
    right: int
    x1: int
    y1: int
    x2: int
    y2: int
    gap: int
    above: int
    height: int


class Crossings:
    """The masks of N windows of cells, resampled bilinearly to pixels and cut at zero.

    A column has a code in each gap: how many pixels of the gap come before the crossing, plus
    ``down.half`` if the mask begins there instead of ending. The pixel at place t, counted from
    1, is in the mask where code - t, which wraps around, is below ``down.half``.

    Args:
        cells: logits (r, c) of N windows, 0 at the edge of the mask.
        edges: (N, 4) as of ``Windows``; the cells that ``pixels`` are resampled from.
        pixels: (N, 4) pixels x1, y1, x2, y2 of the bitmaps, ends excluded.
        across: from columns of cells to those of pixels.
        down: from rows of cells to those of pixels.
    """

    def __init__(
        self,
        cells: list[FloatArray],
        edges: IndexArray,
        pixels: IndexArray,
        across: Resampling,
        down: Resampling,
    ) -> None:
        self._across, self._down = across, down
        x1, y1, x2, y2 = pixels.T
        last = len(down.gaps) - 1
        gaps = down.gaps[np.minimum(y1, last)]
        # Before the first row of cells and behind the last one there is a gap too.
        above = (gaps == 0).astype(np.intp)
        below = down.gaps[np.maximum(y2 - 1, 0)] == len(down.leads) - 1
        top, bottom, left, right = edges.T
        heights = bottom - top + above + below
        self._windows = [
            _Window(*window)
            for window in zip(
                cells,
                *(v.tolist() for v in (left, right, x1, y1, x2, y2, gaps, above, heights)),
                strict=True,
            )
        ]
        self._codes: dict[int, Codes] = {}
        # Where nothing is crossed the quotient may be anything; it is not used then.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for group in self._groups():
                self._encode(group)

    def bitmap(self, i: int) -> BoolArray:
        """Mask ``i`` as (y2 - y1, x2 - x1)."""
        window = self._windows[i]
        rows = slice(window.y1, window.y2)
        gaps = self._down.gaps[rows] - window.gap
        values = self._codes[i].take(gaps, axis=0, mode="clip")  # faster than to check them
        values -= self._down.places[rows]
        return values < self._down.half

    def _groups(self) -> Iterator[list[int]]:
        """Windows that are about as high, of at most ``_GROUP`` values together if not alone."""
        group: list[int] = []
        columns = 0
        for i in sorted(range(len(self._windows)), key=lambda i: self._windows[i].height):
            window = self._windows[i]
            width = window.x2 - window.x1
            if group and (columns + width) * window.height > _GROUP:
                yield group
                group, columns = [], 0
            group.append(i)
            columns += width
        yield group

    def _encode(self, group: list[int]) -> None:
        """Find the codes of some windows side by side; below the lower ones is what was there."""
        windows = [self._windows[i] for i in group]
        widths = [window.x2 - window.x1 for window in windows]
        ends = list(accumulate(widths))
        columns = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        values = np.empty((windows[-1].height, ends[-1]), dtype=np.float32)
        for window, column in zip(windows, columns, strict=True):
            self._enlarge(window, values[: window.height, column])
        inside = (values > 0).view(np.uint8)
        upper = values[:-1]
        places = upper - values[1:]
        np.divide(upper, places, out=places)
        places *= self._down.pixels_per_cell
        gaps = np.add.outer(np.arange(len(places)), [window.gap for window in windows])
        places -= self._down.leads.take(gaps, mode="clip").repeat(widths, axis=1)
        codes = places.astype(self._down.places.dtype)
        codes *= inside[:-1] ^ inside[1:]
        codes += inside[1:] * self._down.half
        for i, column in zip(group, columns, strict=True):
            self._codes[i] = codes[:, column]

    def _enlarge(self, window: _Window, values: FloatArray) -> None:
        """The cells of a window at its columns of pixels; outermost rows are repeated."""
        first, after = window.above, window.above + len(window.cells)
        weights = self._across.weights[window.left : window.right, window.x1 : window.x2]
        np.matmul(window.cells, weights, out=values[first:after])
        if first:
            values[0] = values[1]
        if after < len(values):
            values[after] = values[after - 1]
