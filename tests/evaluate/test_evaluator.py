import dataclasses
import json
import math
from collections.abc import Callable
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pycocotools")

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import ImageError, LabelError, OptionError
from mobileyolact.evaluate.average_precision import Detections, average_precision
from mobileyolact.evaluate.evaluator import evaluate, evaluation_predictor, mean_matched_iou
from mobileyolact.labels.dataset import Dataset, Label, Record
from mobileyolact.runtime.predictor import Predictor


@pytest.fixture
def predictor(squares: Callable[..., Any]) -> Predictor:
    """Finds a sure "cat" at (0, 0, 32, 32) and a doubtful "dog" at (32, 32, 64, 64)."""
    return evaluation_predictor(squares((2 * 8 + 2, 1, 2.0), (6 * 8 + 6, 0, -3.0)))


@pytest.fixture
def labels(tmp_path: Path) -> Callable[..., Dataset]:
    """Two pictures of 64 x 64, in each the labels (class, box) over classes of these names."""

    def make(names: tuple[str, ...], *boxes: tuple[int, tuple[float, ...]]) -> Dataset:
        records = []
        for number in (1, 2):
            path = tmp_path / f"{number}.png"
            Image.new("RGB", (64, 64)).save(path)
            rows = tuple(
                Label(index, (x1, y1, x2, y2), ((x1, y1, x2, y1, x2, y2, x1, y2),))
                for index, (x1, y1, x2, y2) in boxes
            )
            records.append(Record(number, path, 64, 64, rows))
        classes = tuple(ClassInfo(i, name, 5 * i) for i, name in enumerate(names))
        return Dataset(classes, tuple(records), tmp_path / "labels.json")

    return make


CAT = (0.0, 0.0, 32.0, 32.0)
DOG = (32.0, 32.0, 64.0, 64.0)


def test_classes_are_matched_by_name(predictor: Predictor, labels: Any) -> None:
    """The labels count classes in another order than the model, and write one in capitals."""
    result = evaluate(predictor, labels(("Cat", "dog"), (0, CAT), (1, DOG)))
    assert isclose(result.mask.AP, 1)
    assert isclose(result.box.AP, 1)
    assert list(result.mask.per_class) == ["Cat", "dog"]
    assert result.mask.per_class["dog"].instances == 2
    assert result.unknown_classes == ()
    assert result.matched == 2, "the dog's score of 0.05 is too low to count here"
    assert result.mean_matched_iou == pytest.approx(1)


def test_a_class_that_the_model_does_not_know_counts_as_missed(
    predictor: Predictor, labels: Any
) -> None:
    result = evaluate(predictor, labels(("cat", "zebra"), (0, CAT), (1, DOG)))
    assert isclose(result.mask.AP, 0.5)
    assert result.mask.per_class["zebra"].AP == 0
    assert result.to_json()["unknown_classes"] == ["zebra"]


def test_classes_restrict_masks_and_boxes(predictor: Predictor, labels: Any) -> None:
    dataset = labels(("cat", "zebra"), (0, CAT), (1, DOG))
    result = evaluate(predictor, dataset, classes=["cat"])
    for summary in (result.mask, result.box):
        assert isclose(summary.AP, 1)
        assert list(summary.per_class) == ["cat"]
    assert all((found.class_indices == 0).all() for found in result.detections)


def test_a_wrong_class_is_answered_with_the_nearest(predictor: Predictor, labels: Any) -> None:
    with pytest.raises(OptionError, match=r"no class 'cats'.*'cat'"):
        evaluate(predictor, labels(("cat", "dog"), (0, CAT)), classes=["cats"])


def test_no_class_in_common(predictor: Predictor, labels: Any) -> None:
    with pytest.raises(LabelError, match=r"dog, cat.*zebra"):
        evaluate(predictor, labels(("zebra",), (0, CAT)))


def test_json_has_the_agreed_form_and_no_nan(predictor: Predictor, labels: Any) -> None:
    content = evaluate(predictor, labels(("cat", "dog"), (0, CAT))).to_json()
    assert list(content)[:4] == ["images", "max_candidates", "mask", "box"]
    assert content["images"] == 2
    assert content["max_candidates"] == predictor.options.max_candidates
    for kind in ("mask", "box"):
        assert list(content[kind]) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "per_class"]
        assert content[kind]["APl"] is None
        assert content[kind]["per_class"]["dog"] == {"AP": None, "AP50": None, "instances": 0}
        assert set(content[kind]["per_class"]["cat"]) == {"AP", "AP50", "instances"}
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_what_was_found_is_kept_for_later(predictor: Predictor, labels: Any) -> None:
    result = evaluate(predictor, labels(("cat", "dog"), (0, CAT), (1, DOG)))
    again = average_precision(result.dataset, result.detections, "mask", result.classes)
    assert repr(again) == repr(result.mask)


def test_progress(predictor: Predictor, labels: Any) -> None:
    done: list[int] = []
    evaluate(predictor, labels(("cat",), (0, CAT)), progress=done.append)
    assert done == [1, 2]


def test_a_picture_of_another_size_is_named(predictor: Predictor, labels: Any) -> None:
    dataset = labels(("cat",), (0, CAT))
    Image.new("RGB", (32, 64)).save(dataset.records[1].path)
    with pytest.raises(LabelError, match=r"2\.png is 64x64, but the picture is 32x64"):
        evaluate(predictor, dataset)


def test_a_missing_picture_stops(predictor: Predictor, labels: Any) -> None:
    dataset = labels(("cat",), (0, CAT))
    dataset.records[0].path.unlink()
    with pytest.raises(ImageError, match=r"1\.png"):
        evaluate(predictor, dataset)


def box_mask(x1: int, y1: int, x2: int, y2: int) -> rle.Rle:
    return rle.encode_roi(np.ones((y2 - y1, x2 - x1), bool), x1, y1, 64, 64)


def test_mean_matched_iou_by_hand() -> None:
    crowd_box = (0.0, 40.0, 20.0, 60.0)
    labels = (
        Label(0, (0.0, 0.0, 20.0, 20.0), box_mask(0, 0, 20, 20)),
        Label(0, (30.0, 0.0, 50.0, 20.0), box_mask(30, 0, 50, 20)),
        Label(0, crowd_box, box_mask(0, 40, 20, 60), crowd=True),
        Label(1, (30.0, 40.0, 50.0, 60.0), box_mask(30, 40, 50, 60)),
    )
    record = Record(1, Path("1.png"), 64, 64, labels)
    classes = (ClassInfo(0, "a", 1), ClassInfo(1, "b", 2))
    dataset = Dataset(classes, (record,), Path("labels.json"))
    rows = [
        # (class, box, score, mask)
        (0, (0, 0, 20, 20), 0.8, (0, 0, 10, 20)),  # half of the first: 0.5
        (0, (0, 0, 20, 19), 0.9, (0, 0, 20, 15)),  # surer, so it takes the first: 0.75
        (0, (30, 0, 50, 12), 0.3, (30, 0, 50, 4)),  # the second: 0.2
        (1, (30, 40, 50, 49), 0.9, (30, 40, 50, 60)),  # a box IoU of 0.45: not matched
        (0, (30, 40, 50, 60), 0.9, (30, 40, 50, 60)),  # another class
        (0, (0, 40, 20, 60), 0.9, (0, 40, 20, 60)),  # a crowd
        (1, (30, 40, 50, 60), 0.29, (30, 40, 50, 60)),  # too doubtful
    ]
    found = Detections(
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[0] for row in rows], np.intp),
        tuple(box_mask(*row[3]) for row in rows),
    )
    iou, matched = mean_matched_iou(dataset, [found])
    assert matched == 2
    assert iou == pytest.approx((0.75 + 0.2) / 2)

    nothing = dataclasses.replace(dataset, records=(dataclasses.replace(record, labels=()),))
    iou, matched = mean_matched_iou(nothing, [found])
    assert math.isnan(iou)
    assert matched == 0
