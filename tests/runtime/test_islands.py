import numpy as np

from mobileyolact.runtime.islands import sink_islands


def cells(drawing: str) -> np.ndarray:
    """A character a cell: # and . lie above and below the sea."""
    rows = drawing.split()
    return np.float32([[2 if c == "#" else -3 for c in row] for row in rows])


def sink(cells: np.ndarray) -> None:
    sink_islands(cells, (cells > 0).view(np.uint8))


def test_small_islands_sink_and_the_rest_stays() -> None:
    before = cells("""
        ####......
        #####...##
        #####...##
        ....#.....
        .....#...#
    """)
    after = before.copy()
    sink(after)
    changed = np.argwhere(after != before)
    assert changed.tolist() == [[4, 9]]
    assert after[4, 9] == -1


def test_one_island_or_none_is_left_alone() -> None:
    for drawing in ("....\n....", "##..\n..##", "####\n####"):
        before = cells(drawing)
        after = before.copy()
        sink(after)
        assert np.array_equal(after, before)


def test_islands_of_like_size_all_stay() -> None:
    before = cells("##.##.##\n##.#..##")
    after = before.copy()
    sink(after)
    assert np.array_equal(after, before)


def test_a_view_of_a_larger_array_is_changed_in_place() -> None:
    whole = np.full((6, 14), -3, np.float32)
    window = whole[1:6, 2:12]
    window[:] = cells("####......\n" * 4 + ".........#")
    sink(window)
    assert whole[5, 11] < 0 and (whole[1:5, 2:6] == 2).all()
