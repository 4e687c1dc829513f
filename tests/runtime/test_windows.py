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
    cells = np.empty(windows.count, np.float32)
    windows.combine(coefficients, prototypes, windows.pieces(cells))
    whole = np.tensordot(coefficients, prototypes, 1)
    for plane, piece, (top, bottom, left, right) in zip(
        whole, windows.pieces(cells), edges, strict=True
    ):
        assert np.allclose(piece, plane[top:bottom, left:right], atol=1e-5)


def test_values_of_windows_rows_and_columns_reach_their_cells():
    random = np.random.default_rng(1)
    edges = some_windows(random, 9, 6, 8)
    windows = Windows(edges)
    rows, columns, own = (random.normal(size=(9, n)).astype(np.float32) for n in (6, 8, 1))
    found = [
        windows.along_rows(rows[windows.rows.owners, windows.rows.cells]),
        windows.along_columns(columns[windows.columns.owners, windows.columns.cells]),
        windows.each(own[:, 0]),
    ]
    whole = [rows[:, :, None], columns[:, None, :], own[:, :, None]]
    for values, expected in zip(found, whole, strict=True):
        planes = np.broadcast_to(expected, (9, 6, 8))
        for piece, plane, (top, bottom, left, right) in zip(
            windows.pieces(values), planes, edges, strict=True
        ):
            assert np.array_equal(piece, plane[top:bottom, left:right])
