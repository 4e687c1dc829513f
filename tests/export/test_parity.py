"""Matching and parity on models made by hand: no engine, no PyTorch."""

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mobileyolact.contract import ClassInfo, ModelContract
from mobileyolact.errors import OptionError, ParityError
from mobileyolact.export.matching import mask_iou, match
from mobileyolact.export.parity import IDENTICAL_DB, ParityBounds, ParityReport, compare
from mobileyolact.runtime.backends.base import RawOutputs
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.masks import Roi


class Given:
    """Masks that were made by hand, as a source for ``Instances``."""

    def __init__(self, rois: list[Roi]) -> None:
        self.rois = rois

    def roi(self, row: int) -> Roi:
        return self.rois[row]


def instances(boxes: list[list[float]], classes: list[int], rois: list[Roi]) -> Instances:
    infos = tuple(ClassInfo(i, name, i) for i, name in enumerate("abc"))
    scores = np.full(len(boxes), 0.9, np.float32)
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        scores,
        np.array(classes, np.intp),
        infos,
        100,
        100,
        Given(rois),
    )


def full(box: list[float]) -> Roi:
    x1, y1, x2, y2 = map(int, box)
    return Roi(x1, y1, np.ones((y2 - y1, x2 - x1), bool))


def filled(boxes: list[list[float]], classes: list[int]) -> Instances:
    return instances(boxes, classes, [full(box) for box in boxes])


def test_matching_is_one_to_one_by_class_and_best_overlap() -> None:
    a = filled([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], [0, 0, 1])
    b = filled([[1, 0, 11, 10], [50, 50, 60, 60]], [0, 2])
    found = match(a, b)
    assert found.pairs == ((1, 0),)
    assert found.alone_a == (0, 2)
    assert found.alone_b == (1,)


def test_matching_nothing_with_nothing() -> None:
    assert match(filled([], []), filled([], [])) == ((), (), ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Roi(0, 0, np.ones((10, 10), bool)), Roi(5, 0, np.ones((10, 10), bool))),
        (Roi(0, 0, np.ones((4, 4), bool)), Roi(10, 12, np.ones((3, 5), bool))),
        (Roi(2, 3, np.eye(7, dtype=bool)), Roi(3, 2, np.eye(9, 5, dtype=bool))),
        (Roi(0, 0, np.ones((20, 20), bool)), Roi(8, 4, np.ones((2, 2), bool))),
    ],
)
def test_mask_iou_equals_that_of_dense_masks(first: Roi, second: Roi) -> None:
    a, b = (instances([[0, 0, 1, 1]], [0], [roi]) for roi in (first, second))
    dense_a, dense_b = a.dense()[0], b.dense()[0]
    expected = (dense_a & dense_b).sum() / (dense_a | dense_b).sum()
    assert mask_iou(a, 0, b, 0) == expected == mask_iou(b, 0, a, 0)


def test_empty_masks_agree() -> None:
    empty = instances([[0, 0, 1, 1]], [0], [Roi(3, 3, np.zeros((2, 2), bool))])
    assert mask_iou(empty, 0, empty, 0) == 1.0


class Fake:
    """A model that answers every picture with the same raw outputs."""

    def __init__(self, contract: ModelContract, raw: RawOutputs) -> None:
        self.contract = contract
        self.raw = raw

    def run(self, tensor: Any) -> RawOutputs:
        return self.raw

    def describe(self) -> str:
        return "fake"

    def close(self) -> None:
        pass


def outputs(score: float = 0.9, cells: tuple[int, ...] = (5, 10)) -> RawOutputs:
    """Class 0 with ``score`` in some of 4 x 4 cells, boxes of 16 pixels, masks half full."""
    rng = np.random.default_rng(0)
    scores = np.full((1, 16, 3), -8.0, np.float32)
    scores[0, list(cells), 0] = math.log(score / (1 - score))
    boxes = np.zeros((1, 16, 4, 8), np.float32)
    boxes[..., 1] = 20.0  # the distance of one stride in every direction
    coefficients = rng.normal(size=(1, 16, 4)).astype(np.float32)
    prototypes = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    return RawOutputs(scores, boxes.reshape(1, 16, 32), coefficients, prototypes)


PICTURES = [np.zeros((64, 48, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)]


@pytest.fixture
def report(make_contract: Callable[..., ModelContract]) -> Callable[..., ParityReport]:
    """Compare the standard outputs with others."""

    def run(candidate: RawOutputs, reference: RawOutputs | None = None) -> ParityReport:
        contract = make_contract()
        return compare(Fake(contract, reference or outputs()), Fake(contract, candidate), PICTURES)

    return run


def test_a_model_equals_itself(report: Callable[..., ParityReport]) -> None:
    result = report(outputs())
    assert result.images == 2
    assert [o.snr_db for o in result.outputs] == [IDENTICAL_DB] * 4
    assert [o.max_abs_diff for o in result.outputs] == [0.0] * 4
    assert (result.instances, result.matched_fraction) == (4, 1.0)
    assert (result.mean_mask_iou, result.min_mask_iou) == (1.0, 1.0)
    result.check(ParityBounds(), "the candidate")


def test_snr_and_largest_difference_of_one_output(report: Callable[..., ParityReport]) -> None:
    raw = outputs()
    shifted = raw.prototypes.copy()
    shifted[0, 0, 0, 0] += 0.5
    result = report(raw._replace(prototypes=shifted))
    expected = 10 * math.log10(float(np.square(raw.prototypes, dtype=np.float64).sum()) / 0.25)
    assert result.outputs[3].snr_db == pytest.approx(expected, abs=1e-4)
    assert result.outputs[3].max_abs_diff == pytest.approx(0.5, abs=1e-6)
    assert result.outputs[0].snr_db == IDENTICAL_DB


@pytest.mark.parametrize("name", RawOutputs._fields)
def test_each_output_is_held_to_the_bound(name: str, report: Callable[..., ParityReport]) -> None:
    raw = outputs()
    wrong = raw._replace(**{name: getattr(raw, name) * np.float32(1.02)})  # 34 dB
    with pytest.raises(ParityError, match=rf"the candidate differs.*{name} reach 34\.0 dB"):
        report(wrong).check(ParityBounds(), "the candidate")


def test_other_masks_are_a_breach(report: Callable[..., ParityReport]) -> None:
    raw = outputs()
    result = report(raw._replace(coefficients=-raw.coefficients))
    assert result.matched_fraction == 1.0
    assert any("mean mask IoU" in text for text in result.breaches(ParityBounds()))


@pytest.mark.parametrize("missing_in", ["reference", "candidate"])
def test_a_missing_instance_counts_from_both_sides(
    missing_in: str, report: Callable[..., ParityReport]
) -> None:
    fewer = outputs(cells=(5,))
    pair = (outputs(), fewer) if missing_in == "reference" else (fewer, outputs())
    result = report(*pair)
    assert (result.instances, result.matched_fraction) == (4, 0.5)
    assert any("0.500 of the instances" in text for text in result.breaches(ParityBounds()))


def test_a_score_that_slips_below_the_threshold_still_matches(
    report: Callable[..., ParityReport],
) -> None:
    assert report(outputs(0.28), outputs(0.31)).matched_fraction == 1.0
    assert report(outputs(0.31), outputs(0.28)).instances == 4
    assert report(outputs(0.20), outputs(0.31)).matched_fraction == 0.0


def test_which_of_two_cells_is_kept_does_not_matter(
    report: Callable[..., ParityReport],
) -> None:
    first, second = outputs(cells=(5, 6)), outputs(cells=(5, 6))
    for raw in (first, second):
        raw.boxes.reshape(16, 4, 8)[6, 0] = np.eye(8, dtype=np.float32)[2] * 20  # twice to the left
    first.scores[0, 6, 0] -= 0.01
    second.scores[0, 5, 0] -= 0.01
    found = report(second, first)
    assert (found.instances, found.matched_fraction) == (2, 1.0)
    assert found.min_mask_iou == 1.0


def test_nothing_matched_is_a_breach(report: Callable[..., ParityReport]) -> None:
    result = report(outputs(cells=()))
    assert (result.matched_fraction, result.mean_mask_iou) == (0.0, None)
    assert len([t for t in result.breaches(ParityBounds()) if "dB" not in t]) == 2


def test_without_instances_only_raw_outputs_count(report: Callable[..., ParityReport]) -> None:
    result = report(outputs(cells=()), outputs(cells=()))
    assert (result.instances, result.matched_fraction) == (0, None)
    result.check(ParityBounds(), "the candidate")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value: float, report: Callable[..., ParityReport]) -> None:
    raw = outputs()
    raw.coefficients[0, 3, 2] = value
    with pytest.raises(ParityError, match="NaN or infinity in the output 'coefficients'"):
        report(raw)


def test_no_picture_is_refused(make_contract: Callable[..., ModelContract]) -> None:
    model = Fake(make_contract(), outputs())
    with pytest.raises(OptionError, match="no pictures"):
        compare(model, model, [])


def test_models_that_cannot_be_compared(make_contract: Callable[..., ModelContract]) -> None:
    contract = make_contract()
    renamed = dataclasses.replace(contract.classes[0], name="other")
    others = {
        "32x32 and 96x64 pixels": make_contract(input_size=(64, 96)),
        "different classes": make_contract(classes=(renamed, *contract.classes[1:])),
        "different shapes": make_contract(prototypes=5),
    }
    for message, other in others.items():
        with pytest.raises(OptionError, match=message):
            compare(Fake(contract, outputs()), Fake(other, outputs()), PICTURES)


def test_comparing_needs_neither_pytorch_nor_onnx() -> None:
    code = "import sys, mobileyolact.export.parity; print({'torch', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
