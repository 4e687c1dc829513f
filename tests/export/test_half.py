import numpy as np
import pytest

from mobileyolact.export.half import stored


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((513, 1, 1, 1), np.float16),
        ((512, 1, 1, 1), np.float32),
        ((56, 1, 3, 3), np.float32),
        ((57, 1, 3, 3), np.float16),
        ((5000,), np.float32),
    ],
)
def test_only_kernels_of_more_than_512_elements_are_halved(
    shape: tuple[int, ...], dtype: type
) -> None:
    assert stored(np.ones(shape, np.float32)).dtype == dtype


@pytest.mark.parametrize(("value", "dtype"), [(65504.0, np.float16), (-65536.0, np.float32)])
def test_values_that_float16_cannot_hold_stay(value: float, dtype: type) -> None:
    kernel = np.ones((30, 20, 1, 1), np.float32)
    kernel[3, 4] = value
    assert stored(kernel).dtype == dtype
    assert stored(kernel)[3, 4] == value
