"""Copy-paste: objects cut out of one picture and laid over another (arXiv:2012.07177)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobileyolact.train.augment import SMALLEST_VISIBLE, Warped, fit_box

LARGEST_SHARE = 0.3  # of the input that one pasted object may cover
MOST_PASTED = 6


def choose(
    donors: Sequence[Warped], size: tuple[int, int], random: np.random.Generator
) -> list[Warped]:
    """Some of the objects that have a mask and are not too large: each with an even chance."""
    most = LARGEST_SHARE * 255 * size[0] * size[1]
    fitting = [d for d in donors if d.mask is not None and d.mask.sum(dtype=np.int64) < most]
    heads = random.uniform(0, 1, len(fitting)) < 0.5
    return [donor for donor, taken in zip(fitting, heads, strict=True) if taken][:MOST_PASTED]


def paste(
    image: NDArray[np.uint8], donor_image: NDArray[np.uint8], donors: Sequence[Warped]
) -> NDArray[np.uint8]:
    """Lay ``donors`` of ``donor_image`` over ``image`` (H, W, 3) in place.

    Returns:
        What of each pixel (H, W) is covered, 255 the whole.
    """
    cover = np.zeros(image.shape[:2], np.uint8)
    for donor in donors:
        assert donor.mask is not None
        part, share = image[donor.region], donor.mask[:, :, None].astype(np.float32) / 255
        part[:] = np.rint(part + share * (donor_image[donor.region].astype(np.float32) - part))
        np.maximum(cover[donor.region], donor.mask, out=cover[donor.region])
    return cover


def occlude(objects: Sequence[Warped], cover: NDArray[np.uint8]) -> list[Warped]:
    """What is left in view of ``objects`` under ``cover``; a box without a mask stays whole."""
    left = []
    for found in objects:
        if found.mask is None or not (hidden := cover[found.region]).any():
            left.append(found)
            continue
        mask = np.minimum(found.mask, 255 - hidden)
        if mask.sum(dtype=np.int64) >= SMALLEST_VISIBLE * found.mask.sum(dtype=np.int64):
            fitted = fit_box(replace(found, mask=mask))
            left += [] if fitted is None else [fitted]
    return left
