"""Where in its box an object is likely to be: more in the middle than in the corners.

Prototypes are mixed for the whole picture and know nothing of a box. What is known of a cell by
its place in the box is therefore added to its logit: ``constant + across * u**2 + down * v**2``,
where u and v run from -1 to 1 between the sides of the box. CondInst (arXiv:2003.05664, section
3.2) gives such relative coordinates to its mask head; here they need no layer.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def prior_terms(
    prior: tuple[float, ...], rows: FloatArray, columns: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The two parts of the prior, whose sum belongs to the cell of a row and a column.

    Args:
        prior: constant, across and down, on the scale of logits.
        rows: (N, h) v of the rows' centres in N boxes.
        columns: (N, w) u of the columns' centres.
    """
    constant, across, down = np.array(prior, dtype=np.float32)
    return constant + down * np.square(rows), across * np.square(columns)
