"""Rectangles of prototype cells, one a mask, stored one after the other in one array.

What is done to all of them is then few calls on one long array, instead of many on short ones.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]


class Windows:
    """N windows on grids of cells.

    Args:
        edges: (N, 4) first row, row after the last, first column, column after the last; each
            window has a cell at least.
    """

    def __init__(self, edges: IndexArray) -> None:
        top, bottom, left, right = edges.T
        self.edges = edges
        self.ends = np.cumsum((bottom - top) * (right - left))
        self.starts = np.append(0, self.ends[:-1])

    def pieces(self, flat: FloatArray) -> list[FloatArray]:
        """Views (rows, columns) of the windows in ``flat`` (S,), which holds them all."""
        return [
            flat[start:end].reshape(bottom - top, right - left)
            for start, end, (top, bottom, left, right) in self._each()
        ]

    def combine(self, coefficients: FloatArray, prototypes: FloatArray) -> FloatArray:
        """The cells (S,) of ``coefficients`` (N, K) @ ``prototypes`` (K, h, w) in each window."""
        cells = np.empty(self.ends[-1], dtype=np.float32)
        width = prototypes.shape[2]
        flat = prototypes.reshape(len(prototypes), -1)
        for row, piece, (top, bottom, left, right) in zip(
            coefficients, self.pieces(cells), self.edges.tolist(), strict=True
        ):
            # Whole rows of the grid, which lie side by side, in one product.
            rows = row @ flat[:, top * width : bottom * width]
            piece[:] = rows.reshape(-1, width)[:, left:right]
        return cells

    def products(self, rows: FloatArray, columns: FloatArray) -> FloatArray:
        """The cells (S,) of the products of ``rows`` (N, h, r) and ``columns`` (N, r, w)."""
        cells = np.empty(self.ends[-1], dtype=np.float32)
        for row, column, piece, (top, bottom, left, right) in zip(
            rows, columns, self.pieces(cells), self.edges.tolist(), strict=True
        ):
            np.matmul(row[top:bottom], column[:, left:right], out=piece)
        return cells

    def _each(self) -> Iterator[tuple[int, int, list[int]]]:
        return zip(self.starts.tolist(), self.ends.tolist(), self.edges.tolist(), strict=True)
