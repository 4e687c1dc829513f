"""The polynomial of a cell's place in its box."""

import numpy as np
import pytest

from mobileyolact.runtime.position import position_factors

TERMS = ("1", "u", "v", "u * u", "u * v", "v * v", "u * u * v", "u * v * v")


@pytest.mark.parametrize("index", range(len(TERMS)))
def test_each_coefficient_has_its_term(index: int) -> None:
    coefficients = np.zeros((2, 8), np.float32)
    coefficients[1, index] = 3
    rows = np.array([[-1, 0, 1], [-0.75, 0.5, 1]], np.float32)
    columns = np.array([[-1, 0, 0.5, 1], [-1, -0.5, 0.25, 1]], np.float32)
    left, right = position_factors(coefficients, rows, columns)
    assert left.dtype == right.dtype == np.float32
    u, v = columns[1][None, :], rows[1][:, None]
    expected = 3 * np.broadcast_to(eval(TERMS[index], {"u": u, "v": v}), (3, 4))
    np.testing.assert_array_equal(left @ right, [np.zeros((3, 4)), expected])
