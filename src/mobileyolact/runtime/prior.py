"""Where in its box an object is likely to be: more in the middle than in the corners.

Prototypes are mixed for the whole picture and know nothing of a box, and the Dice loss that they
are learnt with fills boxes rather too much. What the place of a cell in its box says is therefore
added to its logit: ``constant + across * u**2 + down * v**2``, where u and v run from -1 to 1
between the sides of the box. It is no part of training, which would take it back
(docs/adr/0006-how-masks-are-learnt.md). Giving relative coordinates to masks is CondInst's idea
(arXiv:2003.05664, section 3.2); here they need no layer.
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
