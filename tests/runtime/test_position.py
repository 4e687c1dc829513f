"""The polynomial of a cell's place in its box."""

import numpy as np
import pytest

from mobileyolact.runtime.position import position_in_u

TERMS = ("1", "u", "v", "u * u", "u * v", "v * v", "u * u * v", "u * v * v")


@pytest.mark.parametrize("index", range(len(TERMS)))
def test_each_coefficient_has_its_term(index: int) -> None:
    coefficients = np.zeros((3, 8), np.float32)
    coefficients[:, index] = 3
    u, v = np.float32([-1, -0.5, 0.25, 1]), np.float32([-0.75, 0.5, 1])
    one, linear, square = (factor[:, None] for factor in position_in_u(coefficients, v))
    found = one + u * linear + u * u * square
    assert found.dtype == np.float32
    expected = 3 * np.broadcast_to(eval(TERMS[index], {"u": u, "v": v[:, None]}), (3, 4))
    np.testing.assert_array_equal(found, expected)
