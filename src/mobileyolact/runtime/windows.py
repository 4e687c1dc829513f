"""Rectangles of prototype cells, one a mask, stored one after the other in one array.

What is done to all of them is then few calls on one long array, instead of many on short ones.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]


class Spans:
    """N ranges of cells along one axis, stored one after the other.

    Args:
        first: (N,) first cell of each.
        after: (N,) the cell after its last; each range has a cell at least.
    """

    owners: IndexArray
    """(M,) which range each stored cell belongs to."""
    cells: IndexArray
    """(M,) which cell it is."""

    def __init__(self, first: IndexArray, after: IndexArray) -> None:
        self.sizes = after - first
        self.starts = self.sizes.cumsum() - self.sizes
        self.owners = np.arange(len(first)).repeat(self.sizes)
        self.cells = np.arange(len(self.owners)) - (self.starts - first).repeat(self.sizes)


class Windows:
    """N windows on grids of cells.

    Args:
        edges: (N, 4) first row, row after the last, first column, column after the last; each
            window has a cell at least.
    """

    rows: Spans
    columns: Spans
    sizes: IndexArray
    """(N,) cells of each window; all have ``count`` together, S."""

    def __init__(self, edges: IndexArray) -> None:
        top, bottom, left, right = edges.T
        self.edges = edges
        self.rows, self.columns = Spans(top, bottom), Spans(left, right)
        self.sizes = self.rows.sizes * self.columns.sizes
        self._ends = self.sizes.cumsum()
        self.count = int(self._ends[-1])
        # Each row of each window is a run of cells.
        self._runs = self.columns.sizes[self.rows.owners]
        run_starts = self._runs.cumsum() - self._runs
        first_columns = self.columns.starts[self.rows.owners]
        self._columns = np.arange(self.count) + (first_columns - run_starts).repeat(self._runs)

    def pieces(self, flat: Cells) -> list[Cells]:
        """Views (rows, columns) of the windows in ``flat`` (S,), which holds them all."""
        starts = self._ends - self.sizes
        bounds = zip(starts.tolist(), self._ends.tolist(), strict=True)
        shapes = zip(self.rows.sizes.tolist(), self.columns.sizes.tolist(), strict=True)
        return [
            flat[start:end].reshape(shape)
            for (start, end), shape in zip(bounds, shapes, strict=True)
        ]

    def each(self, values: FloatArray) -> FloatArray:
        """The cells (S,) with to each the value of its window; ``values`` (N,)."""
        return values.repeat(self.sizes)

    def along_rows(self, values: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """The cells (S,) with to each the value of its row; ``values`` as ``rows.cells``."""
        return np.asarray(values.repeat(self._runs), dtype=np.float32)

    def along_columns(self, values: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """The cells (S,) with to each the value of its column; ``values`` as ``columns.cells``."""
        return np.asarray(values.take(self._columns), dtype=np.float32)

    def combine(
        self, coefficients: FloatArray, prototypes: FloatArray, pieces: list[FloatArray]
    ) -> None:
        """Put ``coefficients`` (N, K) @ ``prototypes`` (K, h, w) into the windows' ``pieces``."""
        count, _, width = prototypes.shape
        first, after = int(self.edges[:, 0].min()), int(self.edges[:, 1].max())
        # With what belongs to a cell side by side, a row of a window is one piece of memory.
        rows = prototypes.reshape(count, -1)[:, first * width : after * width]
        cells = cv2.transpose(rows).reshape(-1, width, count)
        for row, piece, (top, bottom, left, right) in zip(
            coefficients, pieces, self.edges.tolist(), strict=True
        ):
            np.matmul(cells[top - first : bottom - first, left:right], row, out=piece)
