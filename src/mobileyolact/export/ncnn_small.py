"""Writer of small ncnn files: a byte for each weight, float arithmetic, the speed of float.

ncnn's loader (``src/modelbin.cpp``) knows a kernel as a palette of 256 numbers and an index for
each weight, and makes float32 of it when the model is loaded.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileyolact.contract import ModelContract
from mobileyolact.export.formats import small_exporter
from mobileyolact.export.graph import Graph
from mobileyolact.export.ncnn import NcnnWriter

PALETTE_TAG = 1
COLOURS = 256
SMALLEST = 2048  # kernels up to this size stay float16: the palette alone takes 1024 bytes
_BINS = 64  # of many more, most far from 0 hold one value or none, and mislead
_ROUNDS = 100


def choose_palette(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """256 numbers, ascending, near which all ``values`` (any shape) lie: k-means in one dimension.

    It starts from centres as dense as the cube root of the density of the values, the optimum for
    many values (Panter and Dite, 1951). The same values give the same palette.
    """
    data = np.sort(values.ravel()).astype(np.float64)
    counts, edges = np.histogram(data, _BINS)
    rank = np.concatenate(([0.0], np.cumsum(np.cbrt(counts))))
    centres = np.interp((np.arange(COLOURS) + 0.5) / COLOURS * rank[-1], rank, edges)
    sums = np.concatenate(([0.0], np.cumsum(data)))
    for _ in range(_ROUNDS):
        cuts = np.searchsorted(data, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate(([0], cuts, [len(data)]))
        sizes = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, means, centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres.astype(np.float32)


def nearest_colours(values: NDArray[np.float32], palette: NDArray[np.float32]) -> NDArray[np.uint8]:
    """For each of ``values`` the index of the nearest number in the ascending ``palette``."""
    middles = (palette[1:].astype(np.float64) + palette[:-1]) / 2
    return np.searchsorted(middles, values).astype(np.uint8)


class SmallWriter(NcnnWriter):
    """Kernels of more than 2048 weights as a palette and an index for each weight."""

    def kernel(self, weight: NDArray[np.float32]) -> None:
        if weight.size <= SMALLEST:
            super().kernel(weight)
            return
        palette = choose_palette(weight)
        indices = nearest_colours(weight, palette)
        self.tagged(PALETTE_TAG, palette.astype("<f4").tobytes() + indices.tobytes())


@small_exporter("ncnn", ".small.ncnn.param", ".small.ncnn.bin", ".small.ncnn.json")
def write_ncnn_small(graph: Graph, contract: ModelContract, param_path: Path) -> None:
    """Write ``graph`` with its large kernels in 8 bits a weight; files as in ``write_ncnn``.

    Every kernel of more than 2048 weights has a palette of its own; others are float16.
    """
    SmallWriter(graph).save(contract, param_path)
