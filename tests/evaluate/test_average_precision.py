import copy
import dataclasses
import math
import sys
from collections.abc import Callable
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.evaluate.average_precision import Detections, average_precision
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Label, Record

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
SQUARE = (10.0, 10.0, 50.0, 50.0)


def reference(coco: dict, results: list[dict], kind: str, categories: list[int]) -> dict[str, Any]:
    """pycocotools as its own documentation uses it."""
    truth = COCO()
    truth.dataset = copy.deepcopy(coco)
    truth.createIndex()
    drop = "bbox" if kind == "mask" else "segmentation"
    rows = [{k: v for k, v in row.items() if k != drop} for row in copy.deepcopy(results)]
    run = COCOeval(truth, truth.loadRes(rows), "segm" if kind == "mask" else "bbox")
    run.params.catIds = categories
    run.evaluate()
    run.accumulate()
    run.summarize()
    per_class = {}
    for k, category in enumerate(run.params.catIds):
        precision = run.eval["precision"][:, :, k, 0, -1]
        per_class[category] = [
            np.mean(values[values > -1]) if (values > -1).any() else math.nan
            for values in (precision, precision[0])
        ]
    figures = [math.nan if value == -1 else value for value in run.stats[:6]]
    return {"figures": figures, "per_class": per_class}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [None, [1], [0, 2]])
@pytest.mark.parametrize("kind", ["mask", "box"])
def test_equals_pycocotools(
    kind: Any, classes: list[int] | None, seed: int, scenes: Callable[[int], Any]
) -> None:
    drawn = scenes(seed)
    categories = [10 * (i + 1) for i in (range(3) if classes is None else classes)]
    expected = reference(drawn.coco, drawn.results, kind, categories)
    found = average_precision(drawn.dataset, drawn.detections, kind, classes)
    assert [getattr(found, name) for name in FIGURES] == pytest.approx(
        expected["figures"], abs=1e-6, nan_ok=True
    )
    assert len(found.per_class) == len(categories)
    for info in drawn.dataset.classes:
        if info.original_id in categories:
            of_class = found.per_class[info.name]
            per_class = expected["per_class"][info.original_id]
            assert per_class == pytest.approx([of_class.AP, of_class.AP50], abs=1e-6, nan_ok=True)
            labels = [
                row
                for row in drawn.coco["annotations"]
                if row["category_id"] == info.original_id and not row["iscrowd"]
            ]
            assert of_class.instances == len(labels)
    assert 0 < found.AP < 1, "the scenes must tell good from bad"


def test_the_order_of_pictures_does_not_matter(scenes: Callable[[int], Any]) -> None:
    drawn = scenes(0)
    turned = dataclasses.replace(drawn.dataset, records=drawn.dataset.records[::-1])
    assert repr(average_precision(turned, drawn.detections[::-1])) == repr(
        average_precision(drawn.dataset, drawn.detections)
    )


def one_picture(
    *labels: Label, exhaustive: frozenset[int] | None = None, names: tuple[str, ...] = ("a", "b")
) -> Dataset:
    record = Record(1, Path("1.jpg"), 100, 80, labels, exhaustive)
    classes = tuple(ClassInfo(i, name, i + 1) for i, name in enumerate(names))
    return Dataset(classes, (record,), Path("labels.json"))


def found(*rows: tuple[int, tuple[float, ...], float]) -> list[Detections]:
    """Detections (class, box with whole numbers, score) whose mask is the box."""
    return [
        Detections(
            np.array([box for _, box, _ in rows], np.float32).reshape(-1, 4),
            np.array([score for *_, score in rows], np.float32),
            np.array([index for index, *_ in rows], np.intp),
            tuple(box_mask(box) for _, box, _ in rows),
        )
    ]


def box_mask(box: tuple[float, ...]) -> rle.Rle:
    x1, y1, x2, y2 = map(int, box)
    return rle.encode_roi(np.ones((y2 - y1, x2 - x1), bool), x1, y1, 80, 100)


def label(index: int = 0, box: tuple[float, float, float, float] = SQUARE, **fields: Any) -> Label:
    return Label(index, box, fields.pop("segmentation", box_mask(box)), **fields)


@pytest.mark.parametrize("kind", ["mask", "box"])
@pytest.mark.parametrize(
    ("exhaustive", "ap"),
    [(None, 0.5), (frozenset({0, 1}), 0.5), (frozenset({0}), 1.0), (frozenset({1}), 0.0)],
)
def test_classes_that_are_not_completely_labelled_are_not_judged(
    kind: Any, exhaustive: frozenset[int] | None, ap: float
) -> None:
    """Of b one instance is labelled and another one found: wrong, unless b is incomplete."""
    dataset = one_picture(label(), label(1, (60.0, 10.0, 90.0, 70.0)), exhaustive=exhaustive)
    summary = average_precision(
        dataset, found((0, SQUARE, 0.9), (1, (0.0, 55.0, 50.0, 75.0), 0.8)), kind
    )
    assert isclose(summary.AP, ap)
    counted = {name: of.instances for name, of in summary.per_class.items()}
    judged = {0, 1} if exhaustive is None else exhaustive
    assert counted == {"a": int(0 in judged), "b": int(1 in judged)}


def test_nothing_labelled_is_nan() -> None:
    summary = average_precision(one_picture(), found((0, SQUARE, 0.9)))
    assert all(math.isnan(getattr(summary, name)) for name in FIGURES)
    assert math.isnan(summary.per_class["a"].AP)
    assert summary.per_class["a"].instances == 0


def test_nothing_found_is_zero() -> None:
    summary = average_precision(one_picture(label()), found())
    assert summary.AP == summary.AP50 == 0


def test_class_agnostic_labels_do_not_count() -> None:
    dataset = one_picture(label(), label(CLASS_AGNOSTIC, (60.0, 10.0, 90.0, 70.0)))
    assert isclose(average_precision(dataset, found((0, SQUARE, 0.9))).AP, 1)


def test_a_label_with_a_box_alone_judges_boxes_but_no_masks() -> None:
    boxed = label(0, (60.0, 10.0, 90.0, 70.0), segmentation=None)
    dataset = one_picture(label(), boxed)
    inside = (65.0, 15.0, 85.0, 60.0)
    detections = found((0, inside, 0.95), (0, SQUARE, 0.9))
    masks = average_precision(dataset, detections, "mask")
    assert isclose(masks.AP, 1), "its area is ignored"
    assert masks.per_class["a"].instances == 1
    boxes = average_precision(dataset, detections, "box")
    assert boxes.per_class["a"].instances == 2
    assert boxes.AP < 1


@pytest.mark.parametrize(("area", "large", "small"), [(None, "APm", "APs"), (100.0, "APs", "APm")])
def test_size_is_the_stated_area_else_that_of_the_mask(
    area: float | None, large: str, small: str
) -> None:
    dataset = one_picture(label(area=area))  # 40 x 40 pixels: medium
    for kind in ("mask", "box"):
        summary = average_precision(dataset, found((0, SQUARE, 0.9)), kind)
        assert getattr(summary, large) == pytest.approx(1)
        assert math.isnan(getattr(summary, small))


def test_a_mask_of_another_size_is_named() -> None:
    wrong = label(segmentation=rle.encode(np.ones((100, 80), bool)), id=77)
    with pytest.raises(LabelError, match=r"label 77 of 1.jpg .* 100x80"):
        average_precision(one_picture(wrong), found())


def test_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    average_precision(one_picture(label()), found((0, SQUARE, 0.9)))
    assert capsys.readouterr() == ("", "")


def test_without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(OptionError, match=r"mobileyolact\[eval\]"):
        average_precision(one_picture(label()), found())
