import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import OptionError
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.masks import Roi
from mobileyolact.runtime.outlines import outline

CLASSES = tuple(ClassInfo(i, name, 10 + i) for i, name in enumerate(("person", "dog", "bicycle")))
BITMAPS = (
    np.ones((4, 6), dtype=bool),
    np.eye(5, dtype=bool),
    np.zeros((3, 3), dtype=bool),
    np.pad(np.zeros((1, 1), dtype=bool), 1, constant_values=True),
)
CORNERS = ((2, 1), (10, 7), (0, 0), (17, 9))


class Given:
    """Masks that were made before."""

    def roi(self, row):
        return Roi(*CORNERS[row], BITMAPS[row])


@pytest.fixture
def found():
    return Instances(
        boxes=np.float32(
            [
                [x, y, x + b.shape[1], y + b.shape[0]]
                for (x, y), b in zip(CORNERS, BITMAPS, strict=True)
            ]
        ),
        scores=np.float32([0.9, 0.7, 0.5, 0.3]),
        class_indices=np.array([0, 1, 0, 2]),
        classes=CLASSES,
        height=12,
        width=20,
        masks=Given(),
    )


def test_dense_masks_and_areas(found):
    assert found.areas.tolist() == [24, 5, 0, 8]
    dense = found.dense()
    assert dense.shape == (4, 12, 20)
    assert dense.sum(axis=(1, 2)).tolist() == [24, 5, 0, 8]
    assert dense[0, 1:5, 2:8].all()
    assert [tuple(p) for p in np.argwhere(dense[1])] == [(7 + i, 10 + i) for i in range(5)]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(1, 3), [1, 2]),
        ([2, 0, 0], [2, 0, 0]),
        ([], []),
        (np.array([], dtype=int), []),
        (np.array([3, -3]), [3, 1]),
        ([True, False, False, True], [0, 3]),
        (np.array([False, True, False, False]), [1]),
    ],
)
def test_every_kind_of_index_takes_the_masks_along(found, index, expected):
    part = found[index]
    assert len(part) == len(expected)
    for name in ("boxes", "scores", "class_indices", "areas"):
        assert np.array_equal(getattr(part, name), getattr(found, name)[expected])
    assert np.array_equal(part.dense(), found.dense()[expected])
    assert np.array_equal(found[::-1][index].dense(), found.dense()[::-1][expected])


def test_iteration_and_indices_out_of_range(found):
    assert [one.class_names for one in found] == [["person"], ["dog"], ["person"], ["bicycle"]]
    for index in (4, -5):
        with pytest.raises(IndexError):
            found[index]
    assert repr(found) == "Instances(4 in 20x12: person 0.90, dog 0.70, person 0.50, bicycle 0.30)"


def test_filter(found):
    assert found.filter().scores.tolist() == found.scores.tolist()
    assert found.filter(score=0.5).areas.tolist() == [24, 5, 0]
    assert found.filter(classes="person").areas.tolist() == [24, 0]
    assert found.filter(0.6, ["person", 1]).areas.tolist() == [24, 5]
    assert len(found.filter(classes=[])) == 0
    with pytest.raises(OptionError, match="'persn'; the nearest one is 'person'"):
        found.filter(classes=["persn"])
    for index in (3, -1):
        with pytest.raises(OptionError, match="no class"):
            found.filter(classes=[index])


def test_json_is_plain_and_exact(found):
    records = json.loads(json.dumps(found.to_json()))
    assert list(records[1]) == ["class_index", "class_name", "class_id", "score", "box", "mask"]
    assert records[1]["class_index"] == 1
    assert records[1]["class_name"] == "dog"
    assert records[1]["class_id"] == 11
    assert records[1]["score"] == 0.7
    assert records[1]["box"] == [10.0, 7.0, 15.0, 12.0]
    for record, mask in zip(records, found.dense(), strict=True):
        assert np.array_equal(rle.decode(record["mask"]), mask)
    assert found[[]].to_json() == []


def test_coco_results(found):
    record = json.loads(json.dumps(found.to_coco("a7")))[1]
    assert record == {
        "image_id": "a7",
        "category_id": 11,
        "bbox": [10.0, 7.0, 5.0, 5.0],
        "score": 0.7,
        "segmentation": rle.encode(found.dense()[1]),
    }


@given(arrays(np.float32, 1, elements=st.floats(0, 1, width=32)))
def test_numbers_in_json_are_the_same_float32(scores):
    one = Instances(np.float32([[0, 0, 4, 4]]), scores, np.array([0]), CLASSES, 12, 20, Given())
    assert np.float32(json.loads(json.dumps(one.to_json()))[0]["score"]) == scores[0]


def test_polygons_run_along_pixel_edges(found):
    square, diagonal, nothing, ring = found.to_polygons()
    corners = {(2.0, 1.0), (8.0, 1.0), (8.0, 5.0), (2.0, 5.0)}
    assert len(square) == 1
    assert set(zip(square[0][::2], square[0][1::2], strict=True)) == corners
    assert len(diagonal) == 1
    assert nothing == []
    assert len(ring) == 1
    assert cv2.contourArea(np.float32(ring[0]).reshape(-1, 2)) == 9


@given(st.tuples(*[st.integers(1, 12)] * 2).flatmap(lambda shape: arrays(bool, shape)))
def test_outlines_enclose_all_pixels_of_the_mask_and_only_holes_besides(bitmap):
    polygons = [np.float32(p).reshape(-1, 2) for p in outline(Roi(30, 40, bitmap))]
    filled = np.pad(bitmap, 1).astype(np.uint8)
    cv2.floodFill(filled, None, (0, 0), 2)
    for row, column in np.ndindex(bitmap.shape):
        centre = (column + 30.5, row + 40.5)
        inside = any(cv2.pointPolygonTest(p, centre, False) > 0 for p in polygons)
        assert inside == (filled[row + 1, column + 1] != 2)


def test_supervision_is_optional(found, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(OptionError, match="pip install supervision"):
        found.to_supervision()


def test_supervision_detections(found):
    supervision = pytest.importorskip("supervision")
    detections = found.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert np.array_equal(detections.mask, found.dense())
    assert detections.data["class_name"].tolist() == found.class_names


def test_one_instance_for_each_place_whatever_its_class(found):
    near = found.boxes[:1] + np.float32([0, 0, 0.5, 0])  # IoU 0.92
    far = found.boxes[:1] + np.float32([3, 0, 3, 0])  # IoU 0.33
    crowded = Instances(
        boxes=np.concatenate([near, far, found.boxes[:1]]),
        scores=np.float32([0.8, 0.6, 0.9]),
        class_indices=np.array([1, 1, 0]),
        classes=CLASSES,
        height=12,
        width=20,
        masks=Given(),
    )
    assert crowded.distinct().scores.tolist() == pytest.approx([0.6, 0.9])
    assert len(crowded.distinct(0.95)) == 3
    assert len(crowded[:0].distinct()) == 0
