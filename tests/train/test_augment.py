"""Picture, boxes and masks move together, and the colour map is what it says."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from mobileyolact.labels.dataset import Label
from mobileyolact.train.augment import random_affine, random_colour, warp, warp_label
from mobileyolact.train.config import TrainConfig

CONFIG = TrainConfig(iterations=1)
SIZE = (128, 128)


def ellipse() -> tuple[np.ndarray, Label]:
    """A white ellipse on black, 100 high and 160 wide, and its label as a polygon."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = np.column_stack([90 + 40 * np.cos(angle), 45 + 25 * np.sin(angle)])
    image = np.zeros((100, 160, 3), np.uint8)
    cv2.fillPoly(image, [np.rint((points - 0.5) * 16).astype(np.int32)], (255, 255, 255), 8, 4)
    box = (50.0, 20.0, 130.0, 70.0)
    return image, Label(0, box, (tuple(points.ravel().tolist()),))


@pytest.mark.parametrize("seed", range(12))
def test_masks_and_boxes_follow_the_picture(seed: int) -> None:
    image, label = ellipse()
    random = np.random.default_rng(seed)
    matrix = random_affine((100, 160), SIZE, CONFIG, random)
    warped = warp(image, matrix, SIZE, 0)[:, :, 0] > 127
    found = warp_label(label, (100, 160), matrix, SIZE)
    if found is None:
        assert warped.mean() < 0.05
        return
    assert found.mask is not None
    again = cv2.resize(found.covered(SIZE), SIZE[::-1], interpolation=cv2.INTER_LINEAR) > 127
    assert (again & warped).sum() / (again | warped).sum() > 0.9
    columns, rows = warped.any(0).nonzero()[0], warped.any(1).nonzero()[0]
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert found.box == pytest.approx(seen, abs=2)


def test_a_cell_that_the_input_cuts_has_the_share_of_what_is_left() -> None:
    whole = Label(0, (0.0, 0.0, 10.0, 10.0), ((0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0),))
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    found = warp_label(whole, (10, 10), matrix, (10, 10))
    assert found is not None and found.mask is not None
    assert found.mask.shape == (10, 10)
    assert found.covered((10, 10)).tolist() == [[255] * 3] * 3


def test_without_randomness_it_is_the_stretch_of_inference() -> None:
    still = TrainConfig(iterations=1, zoom=(1, 1), aspect=1, flip=0)
    matrix = random_affine((100, 160), SIZE, still, np.random.default_rng(0))
    assert matrix == pytest.approx(np.array([[0.8, 0, 0], [0, 1.28, 0]]))
    image = np.random.default_rng(0).integers(0, 255, (100, 160, 3), np.uint8)
    stretched = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    inner = (slice(2, -2), slice(2, -2))
    difference = warp(image, matrix, SIZE, 0)[inner].astype(int) - stretched[inner]
    assert np.abs(difference).max() <= 4  # OpenCV's warp has 1/32 pixel steps


def test_mirroring_twice_is_nothing() -> None:
    mirror = TrainConfig(iterations=1, zoom=(1, 1), aspect=1, flip=1)
    matrix = random_affine((100, 160), SIZE, mirror, np.random.default_rng(0))
    assert matrix @ [0, 0, 1] == pytest.approx([128, 0])
    assert matrix @ [160, 100, 1] == pytest.approx([0, 128])


def test_an_object_out_of_view_is_dropped_and_a_box_without_mask_kept() -> None:
    _, label = ellipse()
    away = np.array([[1.0, 0, 500], [0, 1, 0]])
    assert warp_label(label, (100, 160), away, SIZE) is None
    box_only = Label(0, label.box, None)
    found = warp_label(box_only, (100, 160), np.eye(3)[:2], SIZE)
    assert found is not None and found.mask is None
    assert found.box.tolist() == [50, 20, 128, 70]


def test_colour_without_strength_is_the_identity() -> None:
    plain = TrainConfig(iterations=1, colour=0)
    matrix = random_colour(plain, np.random.default_rng(0))
    assert matrix == pytest.approx(np.eye(4)[:3], abs=1e-9)


def test_hue_and_saturation_leave_grey_alone() -> None:
    matrix = random_colour(CONFIG, np.random.default_rng(3))
    grey = matrix @ [100, 100, 100, 1]
    assert np.ptp(grey) < 1
    assert np.ptp(matrix @ [200, 50, 20, 1]) > 20
