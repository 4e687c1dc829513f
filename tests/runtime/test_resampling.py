import numpy as np
import pytest

from mobileyolact.runtime.resampling import Resampling


@pytest.mark.parametrize(("pixels", "scale", "offset"), [(90, 0.7, 1.5), (20, 3.1, 0), (7, 9, -1)])
def test_a_range_of_pixels_is_made_of_its_cells_alone(pixels, scale, offset):
    resampling = Resampling(pixels, scale, offset, stride=4, cells=16)
    assert resampling.weights.sum(axis=0) == pytest.approx(np.ones(pixels))
    for start in range(pixels):
        for end in range(start + 1, pixels + 1):
            first, after = resampling.cells(start, end)
            outside = np.delete(resampling.weights, np.s_[first:after], axis=0)
            assert not outside[:, start:end].any()


def test_many_ranges_are_those_one_by_one_and_an_empty_one_has_a_cell():
    resampling = Resampling(60, 1.0, 0.0, stride=4, cells=15)
    starts, ends = np.array([0, 3, 59, 60, 10]), np.array([60, 4, 60, 60, 10])
    first, after = resampling.ranges(starts, ends)
    for i in (0, 1, 2):
        assert (first[i], after[i]) == resampling.cells(starts[i], ends[i])
    assert (after > first).all() and (after <= 15).all()


def test_cells_are_covered_by_their_share():
    resampling = Resampling(60, 1.0, 0.0, stride=4, cells=15)
    covered = resampling.covered(np.float32([0, 5, 7]), np.float32([60, 10, 7]))
    assert covered[0] == pytest.approx(np.ones(15))
    assert covered[1, :4] == pytest.approx([0, 0.75, 0.5, 0])
    assert not covered[2].any()


def test_positions_run_from_side_to_side_of_the_box():
    resampling = Resampling(60, 0.5, 10.0, stride=4, cells=10)
    positions = resampling.positions(np.float32([0, 8]), np.float32([60, 16]))
    # The cells' centres in picture pixels are (2 + 4 i - 10) / 0.5 = -16, -8, 0, 8, 16, ...
    assert positions[0] == pytest.approx((np.arange(-16, 64, 8) / 30 - 1).clip(-1, 1))
    assert positions[1] == pytest.approx([-1] * 4 + [1] * 6)
