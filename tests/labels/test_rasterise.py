import numpy as np
import pytest

from mobileyolact import rle
from mobileyolact.labels.rasterise import rasterise

SQUARE = (2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0)


def test_a_rectangle_on_pixel_edges_is_exact_in_both_directions() -> None:
    expected = np.zeros((10, 9), dtype=bool)
    expected[3:8, 2:6] = True
    backwards = tuple(np.array(SQUARE).reshape(-1, 2)[::-1].ravel().tolist())
    for polygon in (SQUARE, backwards):
        assert np.array_equal(rasterise((polygon,), 10, 9), expected)


def test_polygons_are_united_also_where_they_overlap() -> None:
    other = (4.0, 3.0, 8.0, 3.0, 8.0, 8.0, 4.0, 8.0)
    assert rasterise((SQUARE, other), 10, 9).sum() == 5 * 6


def test_what_is_outside_of_the_picture_is_cut_off() -> None:
    around = (-50.0, -50.0, 90.0, -50.0, 90.0, 90.0, -50.0, 90.0)
    assert rasterise((around,), 10, 9).all()
    assert not rasterise((tuple(x + 20 for x in SQUARE),), 10, 9).any()


@pytest.mark.parametrize("corners", [3, 7, 60])
def test_random_shapes_are_within_a_pixel_of_pycocotools(corners: int) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    import cv2

    random = np.random.default_rng(corners)
    for _ in range(20):
        angle = np.sort(random.uniform(0, 2 * np.pi, corners))
        radius = random.uniform(15, 60, corners)
        points = np.stack([70 + radius * np.cos(angle), 60 + radius * np.sin(angle)], 1)
        polygon = points.ravel().tolist()
        expected = rle.decode(mask.merge(mask.frPyObjects([polygon], 120, 140)))
        rows, columns = np.nonzero(rasterise((tuple(polygon),), 120, 140) != expected)
        outline = points.astype(np.float32)[:, None]
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            distance = cv2.pointPolygonTest(outline, (column + 0.5, row + 0.5), measureDist=True)
            assert abs(distance) < 1
