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
    starts, count = sizes.cumsum() - sizes, len(sizes)
    likely = probabilities * weights
    kept = probabilities > 0.5
    counted = kept.astype(np.float32)
    sums = np.add.reduceat(likely, starts) + np.add.reduceat(weights * counted, starts)
    hits = np.add.reduceat(likely * counted, starts)
    thresholds = np.divide(hits, sums, out=np.zeros_like(hits), where=sums > 0)
    # From here on they only rise, and stay below a half: few cells lie between.
    between = ((probabilities > thresholds.repeat(sizes)) ^ kept).nonzero()[0]
    owners = np.arange(count).repeat(sizes).take(between)
    probabilities, likely, weights = (v.take(between) for v in (probabilities, likely, weights))
    more = np.ones(len(between), dtype=np.bool_)
    for _ in range(_DICE_STEPS if len(between) else 0):
        reached = hits + np.bincount(owners, likely * more, count)
        size = sums + np.bincount(owners, weights * more, count)
        np.divide(reached, size, out=thresholds, where=size > 0, casting="same_kind")
        before, more = more, probabilities > thresholds.take(owners)
        if np.array_equal(more, before):
            break
    return np.asarray(np.maximum(thresholds, np.float32(LOWEST_DICE_THRESHOLD)))
