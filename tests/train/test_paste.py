"""Objects laid over a picture: pixels, masks and boxes of both agree afterwards."""

import numpy as np
import pytest

pytest.importorskip("torch")

from mobileyolact.train.augment import Warped
from mobileyolact.train.paste import LARGEST_SHARE, choose, occlude, paste

SIZE = (64, 64)


def block(left: int, top: int, right: int, bottom: int, class_index: int = 0) -> Warped:
    """A rectangle whose mask fills its box; all sides multiples of 4."""
    mask = np.full((bottom - top, right - left), 255, np.uint8)
    box = np.array([left, top, right, bottom], np.float32)
    return Warped(class_index, box, mask, (left, top))


def test_pasted_pixels_come_from_the_donor_and_half_covered_ones_from_both() -> None:
    donor = block(8, 8, 24, 24)
    assert donor.mask is not None
    donor.mask[0] = 51  # a fifth
    image = np.zeros((*SIZE, 3), np.uint8)
    cover = paste(image, np.full((*SIZE, 3), 200, np.uint8), [donor])
    assert image[9:24, 8:24].min() == 200 and (image[8, 8:24] == 40).all()
    assert image.sum() == 3 * (15 * 16 * 200 + 16 * 40)
    assert (cover[9:24, 8:24] == 255).all() and (cover[8, 8:24] == 51).all()
    assert cover.sum() == donor.mask.sum()


def test_what_lies_below_loses_mask_and_box() -> None:
    below = block(0, 0, 32, 32)
    cover = np.zeros(SIZE, np.uint8)
    cover[:, 20:] = 255
    (left,) = occlude([below], cover)
    assert left.mask is not None and (left.mask[:, 20:] == 0).all() and left.mask[:, :20].all()
    assert left.box.tolist() == [0, 0, 20, 32]
    assert below.mask is not None and below.mask.all()  # the caller's stays as it was


def test_an_object_that_is_nearly_hidden_is_dropped_and_others_are_left_alone() -> None:
    cover = np.zeros(SIZE, np.uint8)
    cover[:32, :30] = 255
    hidden, far = block(0, 0, 32, 32), block(40, 40, 60, 60)
    box_only = Warped(1, np.array([0, 0, 32, 32], np.float32), None)
    left = occlude([hidden, far, box_only], cover)
    assert [id(found) for found in left] == [id(far), id(box_only)]


def test_neither_large_objects_nor_boxes_without_mask_are_chosen() -> None:
    small, large = block(0, 0, 16, 16), block(0, 0, 64, 24)
    assert large.mask is not None and large.mask.size > LARGEST_SHARE * SIZE[0] * SIZE[1]
    box_only = Warped(1, np.array([0, 0, 8, 8], np.float32), None)
    random = np.random.default_rng(0)
    drawn = [choose([small, large, box_only], SIZE, random) for _ in range(40)]
    assert {len(d) for d in drawn} == {0, 1}
    assert all(d is small for some in drawn for d in some)
