import numpy as np
import pytest

from mobileyolact.model.kernels import empty_rings, without_rings


def kernel(used: list[tuple[int, int]], size: tuple[int, int] = (5, 5)) -> np.ndarray:
    """Three kernels of two channels, of which one has something in the cells ``used``."""
    weight = np.zeros((3, 2, *size), np.float32)
    for row, column in used:
        weight[1, 1, row, column] = -0.5
    return weight


@pytest.mark.parametrize(
    ("used", "rings"),
    [
        ([(2, 2)], 2),
        ([(1, 2)], 1),
        ([(2, 3), (2, 2)], 1),
        ([(0, 2)], 0),
        ([(2, 4)], 0),
        ([(4, 0)], 0),
        ([], 0),
    ],
)
def test_rings_without_anything(used: list[tuple[int, int]], rings: int) -> None:
    assert empty_rings(kernel(used)) == rings


def test_what_is_not_square_or_of_one_cell_has_no_rings() -> None:
    assert empty_rings(kernel([(1, 2)], (3, 5))) == 0
    assert empty_rings(kernel([(0, 0)], (1, 1))) == 0


def test_the_middle_is_what_is_left() -> None:
    weight = np.arange(50).reshape(1, 2, 5, 5)
    np.testing.assert_array_equal(without_rings(weight, 1), weight[:, :, 1:4, 1:4])
    np.testing.assert_array_equal(without_rings(weight, 0), weight)
