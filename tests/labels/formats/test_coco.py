import json
from typing import Any

import numpy as np
import pytest

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError
from mobileyolact.labels.formats import FORMATS, read_labels

MASK = np.zeros((30, 40), dtype=bool)
MASK[10:25, 10:30] = True
RUNS = [310, *[15, 15] * 19, 15, 305]  # MASK column by column


def only_label(dataset):
    (label,) = dataset.records[0].labels
    return label


def test_any_ids_become_indices_and_pictures_without_labels_stay(content, write) -> None:
    dataset = read_labels(write(content))
    assert dataset.classes == (ClassInfo(0, "toothbrush", 90), ClassInfo(1, "car", 3))
    assert [record.id for record in dataset.records] == [700, 9]
    assert [len(record.labels) for record in dataset.records] == [1, 0]
    assert dataset.records[0].exhaustive is None
    assert dataset.problems == ()
    label = only_label(dataset)
    assert (label.class_index, label.box, label.crowd, label.id) == (1, (10, 10, 30, 25), False, 5)
    assert label.area == 300


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 10, 30, 10, 30, 25, 10, 25]],
        [10, 10, 30, 10, 30, 25, 10, 25],
        [[10, 10, 20, 10, 20, 25, 10, 25], [], [20, 10, 30, 10, 30, 25, 20, 25]],
        {"size": [30, 40], "counts": RUNS},
        dict(rle.encode(MASK)),
    ],
    ids=["polygon", "flat polygon", "two polygons", "uncompressed RLE", "compressed RLE"],
)
@pytest.mark.parametrize("crowd", [0, 1])
def test_all_encodings_give_the_same_mask_crowd_or_not(content, write, segmentation, crowd) -> None:
    content["annotations"][0] |= {"segmentation": segmentation, "iscrowd": crowd}
    dataset = read_labels(write(content))
    label = only_label(dataset)
    assert dataset.problems == ()
    assert label.crowd == bool(crowd)
    assert np.array_equal(label.mask(30, 40), MASK)


def test_a_mask_for_another_size_of_picture_is_refused(content, write) -> None:
    content["annotations"][0]["segmentation"] = dict(rle.encode(MASK))
    with pytest.raises(LabelError, match="label 5"):
        only_label(read_labels(write(content))).mask(60, 80)


@pytest.mark.parametrize(
    ("missing", "filled"), [("bbox", (10, 10, 30, 25)), ("segmentation", None)]
)
def test_box_from_mask_and_box_without_mask(content, write, missing, filled) -> None:
    del content["annotations"][0][missing]
    label = only_label(read_labels(write(content)))
    assert label.box == (10, 10, 30, 25)
    if missing == "segmentation":
        assert label.segmentation is filled


def test_the_box_of_an_rle_is_found_from_its_pixels(content, write) -> None:
    content["annotations"][0] |= {"segmentation": dict(rle.encode(MASK)), "bbox": None}
    assert only_label(read_labels(write(content))).box == (10, 10, 30, 25)


@pytest.mark.parametrize(
    ("ids", "exhaustive"), [(None, None), ([], []), ([90], [0]), ([90, 3.0], [0, 1])]
)
def test_partial_labels(content, write, ids, exhaustive) -> None:
    content["images"][0]["labeled_category_ids"] = ids
    found = read_labels(write(content)).records[0].exhaustive
    assert found == (None if exhaustive is None else frozenset(exhaustive))


@pytest.mark.parametrize("ids", ["car", [3, 77], [[3]]])
def test_unknown_ids_of_partial_labels_are_reported(content, write, ids) -> None:
    content["images"][0]["labeled_category_ids"] = ids
    dataset = read_labels(write(content))
    assert dataset.records[0].exhaustive == (frozenset({1}) if ids == [3, 77] else frozenset())
    assert "image 700: 'labeled_category_ids'" in dataset.problems[0]


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_id": 8}, "image_id 8 is not in 'images'"),
        ({"image_id": [1]}, "is not in 'images'"),
        ({"category_id": 1}, "category_id 1 is not in 'categories'"),
        ({"category_id": {}}, "is not in 'categories'"),
        ({"iscrowd": "no"}, "iscrowd is no"),
        ({"bbox": None, "segmentation": None}, "no bbox and no mask"),
        ({"bbox": [1, 2, 3], "segmentation": []}, "not four finite numbers"),
        ({"bbox": [1, 2, NAN, 3], "segmentation": []}, "not four finite numbers"),
        ({"bbox": [1, 2, 10**400, 3], "segmentation": []}, "not four finite numbers"),
        ({"bbox": [1, 2, 0, 3], "segmentation": []}, "no extent"),
        ({"bbox": [50, 2, 5, 5], "segmentation": []}, "outside of the picture of 40x30"),
        ({"bbox": None, "segmentation": [[1, 1, 5, 5]]}, "4 coordinates"),
        ({"bbox": None, "segmentation": [[1, 1, 5, 5, 6, 1, 7]]}, "7 coordinates"),
        ({"bbox": None, "segmentation": [[1, 1, 5, "5", 6, 1]]}, "finite numbers"),
        ({"bbox": None, "segmentation": [[1, 1, 5, 1, 9, 1]]}, "no area"),
        ({"bbox": None, "segmentation": [[1, 1, 1e9, 5, 9, 1]]}, "a million pixels"),
        ({"bbox": None, "segmentation": [[50, 1, 60, 5, 59, 1]]}, "outside of the picture"),
        ({"bbox": None, "segmentation": "yes"}, "neither polygons nor an RLE"),
        ({"bbox": None, "segmentation": {"size": [40, 30], "counts": "0"}}, "30 high, 40 wide"),
        ({"bbox": None, "segmentation": {"size": [30, 40], "counts": [1]}}, "do not sum"),
        ({"bbox": None, "segmentation": {"size": [30, 40], "counts": "\x00"}}, "damaged"),
        ({"bbox": None, "segmentation": {"size": [30, 40], "counts": [1200]}}, "mask is empty"),
        ({"bbox": None, "segmentation": {"size": [30, 40], "counts": "\ud800"}}, "damaged"),
    ],
)
def test_a_bad_annotation_is_named_and_left_out(content, write, changes, reason) -> None:
    bad: dict[str, Any] = {**content["annotations"][0], "id": 41, **changes}
    content["annotations"].append(bad)
    path = write(content)
    dataset = read_labels(path)
    assert [label.id for record in dataset.records for label in record.labels] == [5]
    (problem,) = dataset.problems
    assert problem.startswith(f"{path}: annotation 41: ")
    assert reason in problem
    assert "; " in problem  # what to do

    content["annotations"] = [bad]
    with pytest.raises(LabelError, match="none of the 1 annotations is usable.*annotation 41"):
        read_labels(write(content))


@pytest.mark.parametrize(
    ("changes", "reason", "mask"),
    [
        ({"bbox": [10, 10, 0, 15]}, "so the mask's box is used", True),
        ({"segmentation": [[1, 2]]}, "so only its box is used", False),
        ({"segmentation": [[10, 10, 30, 10, 30, 25, 10, 25], [1]]}, "that part is left out", True),
    ],
)
def test_what_is_good_of_an_annotation_is_kept(content, write, changes, reason, mask) -> None:
    content["annotations"][0] |= changes
    dataset = read_labels(write(content))
    label = only_label(dataset)
    assert label.box == (10, 10, 30, 25)
    assert (label.segmentation is not None) == mask
    (problem,) = dataset.problems
    assert reason in problem


def test_bad_images_and_categories_are_named(content, write) -> None:
    content["images"] += [
        {"id": 1, "file_name": "gone.png", "width": 40, "height": 30},
        {"id": 700, "file_name": "b.png"},
        {"file_name": "b.png"},
        {"id": 2, "file_name": "a.png", "width": 10**6, "height": 10**6},
        "b.png",
    ]
    content["categories"] += [{"id": 3, "name": "bus"}, {"id": "x", "name": "bus"}, {"id": 4}]
    dataset = read_labels(write(content))
    assert len(dataset.records) == 2
    assert len(dataset.classes) == 2
    expected = ["category 3", "category x", "category 4", "image 1", "image 700", "image no. 5"]
    named = [problem.partition(": ")[2].partition(":")[0] for problem in dataset.problems]
    assert named == [*expected, "image 2", "image no. 7"]
    assert "'gone.png' is missing; put it into" in dataset.problems[3]


def test_two_ids_of_one_name_are_one_class(content, write) -> None:
    content["categories"].append({"id": 4, "name": "car"})
    content["annotations"][0]["category_id"] = 4
    dataset = read_labels(write(content))
    assert len(dataset.classes) == 2
    assert only_label(dataset).class_index == 1


def test_sizes_that_the_labels_leave_out_are_those_of_the_pictures(content, write) -> None:
    del content["images"][0]["width"]
    record = read_labels(write(content)).records[0]
    assert (record.width, record.height) == (40, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "no list 'images'"),
        ('{"images": [], "annotations": [], "categories": {}}', "no list 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', "'images' .* is empty"),
        ('{"images": [{"id": 1, "file_name": "c.png"}], "annotations": [], "categories": []}',
         "no picture can be used.*'c.png' is missing"),
    ],
)  # fmt: skip
def test_a_useless_file_is_one_sentence(tmp_path, text, message) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_labels(path)


def test_the_probe_tells_coco_from_other_files(content, write, tmp_path) -> None:
    probe = FORMATS["coco"].probe
    assert probe(write(content)) > 0.9
    other = tmp_path / "labelme.json"
    other.write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
    assert 0 < probe(other) < 0.5
    assert probe(tmp_path) == probe(tmp_path / "a.png") == 0
