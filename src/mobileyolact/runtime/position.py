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


def position_in_u(
    coefficients: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The polynomial in rows of cells, as one in u: its factors of 1, u and u^2, (M,) each.

    Args:
        coefficients: (M, 8) of 1, u, v, u^2, u v, v^2, u^2 v and u v^2, for every row.
        v: (M,) of the centres of rows.
    """
    one, of_u, of_v, of_uu, of_uv, of_vv, of_uuv, of_uvv = coefficients.T
    return one + v * (of_v + v * of_vv), of_u + v * (of_uv + v * of_uvv), of_uu + v * of_uuv
