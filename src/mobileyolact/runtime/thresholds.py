"""Where to cut a mask: the threshold of greatest expected Dice coefficient."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

_DICE_STEPS = 8
LOWEST_DICE_THRESHOLD = 0.2


def dice_thresholds(
    probabilities: FloatArray, weights: FloatArray, sizes: IndexArray
) -> FloatArray:
    """Where to cut masks so that their Dice coefficients can be expected to be greatest.

    That is at half of the Dice coefficient which the cut then reaches (Lipton et al.,
    arXiv:1402.1892, theorem 1), found by Dinkelbach's iteration. A mask that is sure of itself is
    cut near 0.5, a doubtful one lower, where with 0.5 it would shrink.

    Args:
        probabilities: (S,) of the cells of all masks, one mask after the other.
        weights: (S,) how much each cell counts: the share that the box covers.
        sizes: (N,) cells of each mask, at least one.

    Returns:
        (N,) thresholds, not below 0.2: nothing is filled that is hardly there.
    """
    starts = sizes.cumsum() - sizes
    likely = probabilities * weights
    total = np.add.reduceat(likely, starts)
    thresholds = np.full(len(starts), 0.5, dtype=np.float32)
    for _ in range(_DICE_STEPS):
        kept = (probabilities > thresholds.repeat(sizes)).astype(np.float32)
        sums = total + np.add.reduceat(weights * kept, starts)
        reached = np.add.reduceat(likely * kept, starts)
        np.divide(reached, sums, out=reached, where=sums > 0)
        if np.array_equal(reached, thresholds):
            break
        thresholds = reached
    return np.maximum(thresholds, np.float32(LOWEST_DICE_THRESHOLD))
