"""What the place in its box says about a cell: the mask logit's part that no prototype can hold.

Prototypes are mixed for the whole picture and know nothing of a box. Each instance therefore adds
a polynomial of its own in u and v, which run from -1 to 1 between the sides of its box: more in
the middle than in the corners, leaning to a diagonal, wider below than above. Its terms are those
of the serendipity element of eight nodes (Zienkiewicz, The Finite Element Method). Giving relative
coordinates to masks is CondInst's idea (arXiv:2003.05664, section 3.2); here they need no layer.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def position_factors(
    coefficients: FloatArray, rows: FloatArray, columns: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Two factors whose matrix product is the polynomial at every cell.

    Args:
        coefficients: (N, 8) of 1, u, v, u^2, u v, v^2, u^2 v and u v^2.
        rows: (N, h) v of the centres of rows in N boxes.
        columns: (N, w) u of the centres of columns.

    Returns:
        (N, h, 3) and (N, 3, w).
    """
    one, u, v, uu, uv, vv, uuv, uvv = coefficients.T
    by_powers = np.array([[one, u, uu], [v, uv, uuv], [vv, uvv, np.zeros_like(vv)]])
    return np.matmul(_powers(rows), by_powers.transpose(2, 0, 1)), _powers(columns).swapaxes(1, 2)


def _powers(values: FloatArray) -> FloatArray:
    """1, x and x^2 of values (N, n): (N, n, 3)."""
    return np.stack([np.ones_like(values), values, np.square(values)], axis=2)
