"""Masks by where each row of pixels crosses their edge.

Between the centres of two columns of cells, bilinear values are linear along a row of pixels, so
they cross zero there at most once. A mask is then a few runs of pixels in each row, in and out of
it in turn, and numpy writes runs in less time than it could compare pixels.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mobileyolact.runtime.resampling import Resampling

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]
Lengths = npt.NDArray[np.int32]

_GROUP = 2**18  # values: with more, little is gained and memory is lost


class Crossings:
    """The masks of N windows of cells, resampled bilinearly to pixels and cut at zero.

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
        self._shapes = (pixels[:, :1:-1] - pixels[:, 1::-1]).tolist()
        # Of each mask, row after row, how many pixels are out of it and in it in turn, and that
        # part of ``_in_turn`` which says which.
        self._runs: list[tuple[Lengths, slice]] = []
        counts = (pixels[:, 3] - pixels[:, 1]) * (edges[:, 3] - edges[:, 2])
        for group in _groups(counts):
            self._encode(cells[group], edges[group], pixels[group], counts[group])
        self._in_turn: BoolArray = np.arange(max(part.stop for _, part in self._runs)) % 2 == 1

    def bitmap(self, i: int) -> BoolArray:
        """Mask ``i`` as (y2 - y1, x2 - x1)."""
        lengths, part = self._runs[i]
        return self._in_turn[part].repeat(lengths).reshape(self._shapes[i])

    def _encode(
        self, cells: list[FloatArray], edges: IndexArray, pixels: IndexArray, counts: IndexArray
    ) -> None:
        """Find the runs of some windows, which have ``counts`` values at their rows of pixels."""
        starts = np.zeros(len(counts) + 1, dtype=np.intp)
        counts.cumsum(out=starts[1:])
        at, first, shares = _turns(self._enlarge(cells, edges, pixels, starts), starts)
        firsts = at.searchsorted(starts)
        runs = firsts[1:] - firsts[:-1]
        runs[-1] += 1  # where the last one ends

        x1, y1, x2, y2 = pixels.T
        left, columns, widths = edges[:, 2], edges[:, 3] - edges[:, 2], x2 - x1
        at -= starts[:-1].repeat(runs)
        rows = ((at + 0.5) * (1 / columns).repeat(runs)).astype(np.intp)  # `//` takes longer
        at -= rows * columns.repeat(runs)
        np.copyto(shares, -1, where=at == 0)  # a row begins without a crossing
        at += (left - 1).repeat(runs)
        ends = self._across.behind(at + shares)
        np.maximum(ends, x1.repeat(runs), out=ends)
        np.minimum(ends, x2.repeat(runs), out=ends)
        rows *= widths.repeat(runs)
        ends += rows
        areas = widths * (y2 - y1)
        ends += (areas.cumsum() - areas - x1).repeat(runs)
        lengths = (ends[1:] - ends[:-1]).astype(np.int32)
        self._runs += [
            (lengths[start:end], slice(inside, inside + end - start))
            for (start, end), inside in zip(pairwise(firsts.tolist()), first, strict=True)
        ]

    def _enlarge(
        self, cells: list[FloatArray], edges: IndexArray, pixels: IndexArray, starts: IndexArray
    ) -> FloatArray:
        """Windows at their rows of pixels, each from its start on, and a value behind them."""
        values = np.empty(starts[-1] + 1, dtype=np.float32)
        values[-1] = 0
        for piece, (start, end), (top, bottom, left, right), (_, y1, _, y2) in zip(
            cells, pairwise(starts.tolist()), edges.tolist(), pixels.tolist(), strict=True
        ):
            out = values[start:end].reshape(y2 - y1, right - left)
            np.matmul(self._down.weights[top:bottom, y1:y2].T, piece, out=out)
        return values


def _turns(values: FloatArray, starts: IndexArray) -> tuple[IndexArray, list[bool], FloatArray]:
    """Where runs begin: at every change of sign, and at ``starts``.

    Returns:
        Places in ``values``; whether values are above zero at all starts but the last; and the
        share of the way from the value before at which zero lies, from 0 to 1 where it is crossed,
        whatever the values.
    """
    inside = values > 0
    turns = np.empty(len(values), dtype=np.bool_)
    np.not_equal(inside[1:], inside[:-1], out=turns[1:])
    turns[starts] = True
    at = turns.nonzero()[0]
    before, after = values.take(at - 1, mode="clip"), values.take(at, mode="clip")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shares = np.fmax(before / (before - after), np.float32(0))
    return at, inside[starts[:-1]].tolist(), shares


def _groups(counts: IndexArray) -> Iterator[slice]:
    """Neighbours that have at most ``_GROUP`` values together if not alone."""
    start = total = 0
    for i, count in enumerate(counts.tolist()):
        if total and total + count > _GROUP:
            yield slice(start, i)
            start, total = i, 0
        total += count
    yield slice(start, len(counts))
