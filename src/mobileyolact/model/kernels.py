"""Kernels that are smaller than they are stored, being 0 all along their edges.

A 5x5 kernel of which only the 3x3 in its middle is left computes what a 3x3 one does. Training
leaves such edges empty and files are written without them.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Kernel = TypeVar("Kernel", bound=Any)


def empty_rings(kernel: NDArray[Any]) -> int:
    """How many outermost rings of ``kernel`` (outputs, inputs, height, width) are 0 throughout.

    A kernel of zeros alone, or one that is not square, counts as full.
    """
    rows, columns = np.nonzero(kernel.any((0, 1)))
    height, width = kernel.shape[2:]
    if height != width or not len(rows):
        return 0
    return int(min(rows.min(), columns.min(), height - 1 - rows.max(), width - 1 - columns.max()))


def without_rings(kernel: Kernel, rings: int) -> Kernel:
    """The middle of ``kernel``, an array or tensor (outputs, inputs, height, width)."""
    height, width = kernel.shape[2:]
    return kernel[:, :, rings : height - rings, rings : width - rings]
