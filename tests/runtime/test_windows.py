import numpy as np

from mobileyolact.runtime.windows import Windows


def some_windows(random, count, rows, columns):
    corners = np.stack(
        [random.integers(0, side, (count, 2)) for side in (rows, columns)], axis=1
    ).reshape(-1, 4)
    top, bottom, left, right = corners.T
    first, last = np.minimum(top, bottom), np.maximum(top, bottom)
    return np.stack([first, last + 1, np.minimum(left, right), np.maximum(left, right) + 1], 1)


def test_combinations_in_windows_are_those_of_the_whole_grid():
    random = np.random.default_rng(0)
    edges = some_windows(random, 40, 13, 17)
    prototypes = random.normal(size=(5, 13, 17)).astype(np.float32)
    coefficients = random.normal(size=(40, 5)).astype(np.float32)
    windows = Windows(edges)
    cells = windows.combine(coefficients, prototypes)
    whole = np.tensordot(coefficients, prototypes, 1)
    for plane, piece, (top, bottom, left, right) in zip(
        whole, windows.pieces(cells), edges, strict=True
    ):
        assert np.allclose(piece, plane[top:bottom, left:right], atol=1e-5)


def test_products_lie_in_their_windows():
    random = np.random.default_rng(1)
    edges = some_windows(random, 9, 6, 8)
    rows, columns = random.normal(size=(9, 6, 3)), random.normal(size=(9, 3, 8))
    windows = Windows(edges)
    cells = windows.products(np.float32(rows), np.float32(columns))
    assert len(cells) == windows.ends[-1]
    for i, (piece, (top, bottom, left, right)) in enumerate(
        zip(windows.pieces(cells), edges, strict=True)
    ):
        assert np.allclose(piece, rows[i, top:bottom] @ columns[i, :, left:right], atol=1e-6)
