import numpy as np
import pytest

from mobileyolact.runtime.resampling import Resampling

PLACES = pytest.mark.parametrize(
    ("pixels", "scale", "offset"), [(90, 0.7, 1.5), (20, 3.1, 0), (7, 9, -1)]
)


@PLACES
def test_a_range_of_pixels_is_made_of_its_cells_alone(pixels, scale, offset):
    resampling = Resampling(pixels, scale, offset, stride=4, cells=16)
    assert resampling.weights.sum(axis=0) == pytest.approx(np.ones(pixels))
    starts, ends = np.triu_indices(pixels)
    for start, end, first, after in zip(
        starts, ends + 1, *resampling.ranges(starts, ends + 1), strict=True
    ):
        outside = np.delete(resampling.weights, np.s_[first:after], axis=0)
        assert not outside[:, start:end].any()


def test_an_empty_range_has_a_cell():
    resampling = Resampling(60, 1.0, 0.0, stride=4, cells=15)
    first, after = resampling.ranges(np.array([0, 59, 60, 10]), np.array([0, 59, 60, 10]))
    assert (after > first).all() and (first >= 0).all() and (after <= 15).all()


@PLACES
def test_the_first_pixel_behind_a_point(pixels, scale, offset):
    resampling = Resampling(pixels, scale, offset, stride=4, cells=16)
    centres = ((np.arange(pixels) + 0.5) * scale + offset) / 4 - 0.5
    points = np.random.default_rng(0).uniform(-1, 17, 500)
    behind = resampling.behind(points).clip(0, pixels)
    assert behind.tolist() == centres.searchsorted(points).tolist()


def test_cells_are_covered_by_their_share():
    resampling = Resampling(60, 1.0, 0.0, stride=4, cells=15)

    def covered(start, end):
        return resampling.covered(np.arange(15), np.float32(start), np.float32(end))

    assert covered(0, 60) == pytest.approx(np.ones(15))
    assert covered(5, 10)[:4] == pytest.approx([0, 0.75, 0.5, 0])
    assert not covered(7, 7).any()


def test_positions_run_from_side_to_side_of_the_box():
    resampling = Resampling(60, 0.5, 10.0, stride=4, cells=10)

    def positions(start, end):
        return resampling.positions(np.arange(10), np.float32(start), np.float32(end))

    # The cells' centres in picture pixels are (2 + 4 i - 10) / 0.5 = -16, -8, 0, 8, 16, ...
    assert positions(0, 60) == pytest.approx((np.arange(-16, 64, 8) / 30 - 1).clip(-1, 1))
    assert positions(8, 16) == pytest.approx([-1] * 4 + [1] * 6)
