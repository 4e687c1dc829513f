"""Small islands of a mask, apart from its main part: mostly what lies near an object in its box."""

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# On 240 pictures of val2017 mask AP rises from 0.1967 to 0.1981, AP75 from 0.174 to 0.179; cutting
# more, up to 0.4, gains little, and objects that others hide in part would lose theirs.
SMALL = 0.15
_SUNK = 1.0


def sink_islands(cells: FloatArray, above: npt.NDArray[np.uint8]) -> None:
    """Put islands below zero, in place.

    Cells above it that touch, also at a corner, are one island. Those of fewer cells than
    ``SMALL`` of the largest one sink.

    Args:
        cells: (r, c) logits, 0 at the edge of the mask.
        above: (r, c) 1 for cells above 0, else 0.
    """
    # With labels of 32 bits OpenCV starts threads for a few hundred cells: four times as long.
    count, labels = cv2.connectedComponents(above, None, 8, cv2.CV_16U)
    if count > 2:  # the first is the sea
        sizes = np.bincount(labels.ravel()).tolist()
        sizes[0] = 0
        least = SMALL * max(sizes)
        small = [0 < size < least for size in sizes]
        if any(small):
            cells[np.array(small)[labels]] = -_SUNK
