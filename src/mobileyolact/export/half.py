"""Which tensors are stored as 16-bit floats: one rule for every format."""

import numpy as np
from numpy.typing import NDArray

SMALL = 512


def stored(array: NDArray[np.float32]) -> NDArray[np.float16] | NDArray[np.float32]:
    """``array`` as it goes into a file: float16 for kernels of more than 512 elements.

    Small tensors and vectors (biases) stay float32: they weigh little in the file and much in
    the result. So does a kernel with a value that float16 cannot hold.
    """
    if array.ndim < 2 or array.size <= SMALL or np.abs(array).max() > np.finfo(np.float16).max:
        return array
    return array.astype(np.float16)
