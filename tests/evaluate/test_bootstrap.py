import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.evaluate import bootstrap
from mobileyolact.evaluate.average_precision import Detections, average_precision, matched_run
from mobileyolact.evaluate.bootstrap import STATISTICS, Difference, paired_bootstrap
from mobileyolact.labels.dataset import Dataset, Label, Record

SQUARE = (10.0, 10.0, 50.0, 50.0)
ALL = tuple(STATISTICS)


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def worse(detections: tuple[Detections, ...], shift: float) -> tuple[Detections, ...]:
    """The same boxes, moved to the right."""
    return tuple(
        dataclasses.replace(d, boxes=d.boxes + np.float32([shift, 0, shift, 0])) for d in detections
    )


def untied(detections: tuple[Detections, ...]) -> tuple[Detections, ...]:
    """Other scores, no two of which are equal, so that the order of detections is certain."""
    total = sum(len(d.scores) for d in detections)
    scores = np.random.default_rng(3).permutation(total).astype(np.float32) / total
    parts = np.split(scores, np.cumsum([len(d.scores) for d in detections])[:-1])
    return tuple(dataclasses.replace(d, scores=s) for d, s in zip(detections, parts, strict=True))


@pytest.mark.parametrize("classes", [None, [1], [0, 2]])
@pytest.mark.parametrize("kind", ["mask", "box"])
@pytest.mark.parametrize("seed", range(3))
def test_the_figures_themselves_are_those_of_pycocotools(
    seed: int, kind: Any, classes: list[int] | None, scenes: Callable[[int], Any]
) -> None:
    drawn = scenes(seed)
    expected = average_precision(drawn.dataset, drawn.detections, kind, classes)
    found = paired_bootstrap(
        drawn.dataset,
        drawn.detections,
        worse(drawn.detections, 3),
        kind,
        classes,
        statistics=ALL,
        resamples=1,
        generator=generator(),
    )
    for name, difference in found.items():
        assert difference.a == pytest.approx(getattr(expected, name), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_a_resample_is_what_pycocotools_gives_for_repeated_pictures(
    kind: Any, scenes: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = scenes(1)
    detections = untied(drawn.detections)
    # So few cells that every resample is a chunk of its own.
    monkeypatch.setattr(bootstrap, "_MOST_CELLS", 1)
    order = sorted(range(len(detections)), key=lambda i: drawn.dataset.records[i].id)
    weights = generator().multinomial(len(order), np.full(len(order), 1 / len(order)), 5)
    run = matched_run(drawn.dataset, detections, kind, by_size=False)
    figures = bootstrap._figures(run, weights, ALL)
    for row, times in enumerate(weights):
        picked = [i for i, n in zip(order, times, strict=True) for _ in range(n)]
        records = tuple(
            dataclasses.replace(drawn.dataset.records[i], id=number)
            for number, i in enumerate(picked)
        )
        repeated = dataclasses.replace(drawn.dataset, records=records)
        expected = average_precision(repeated, [detections[i] for i in picked], kind)
        for name in ALL:
            assert figures[name][row] == pytest.approx(getattr(expected, name), abs=1e-12)


def pictures(number: int, *boxes: tuple[float, ...]) -> tuple[Dataset, list[Detections]]:
    """Pictures with one labelled square each, in which ``boxes`` were found, best first."""
    mask = [rle.encode_roi(np.ones((40, 40), bool), int(b[0]), int(b[1]), 80, 100) for b in boxes]
    records = tuple(
        Record(i, Path(f"{i}.jpg"), 100, 80, (Label(0, SQUARE, square_mask()),))
        for i in range(number)
    )
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.zeros(len(boxes), np.intp),
        tuple(mask),
    )
    classes = (ClassInfo(0, "a", 1), ClassInfo(1, "b", 2))
    return Dataset(classes, records, Path("labels.json")), [detections] * number


def square_mask() -> rle.Rle:
    return rle.encode_roi(np.ones((40, 40), bool), 10, 10, 80, 100)


MISSED = (55.0, 10.0, 95.0, 50.0)


def test_one_model_finds_half_of_the_pictures() -> None:
    """A finds all squares, B those of the first half: AP follows the share that was drawn."""
    dataset, right = pictures(40, SQUARE)
    nothing = pictures(40)[1]
    found = paired_bootstrap(dataset, right, right[:20] + nothing[20:], generator=generator())
    ap = found["AP"]
    assert (ap.a, ap.b) == pytest.approx((1, 51 / 101)), "recall 0.5 has 51 of the 101 points"
    assert ap.certain
    # A share of 0.5 among 40 has a standard deviation of 0.079.
    assert (ap.low, ap.high) == pytest.approx((-0.5 - 1.96 * 0.079, -0.5 + 1.96 * 0.079), abs=0.04)
    assert found["AP50"] == ap


def test_a_model_against_itself_differs_by_exactly_nothing(scenes: Callable[[int], Any]) -> None:
    drawn = scenes(0)
    found = paired_bootstrap(
        drawn.dataset, drawn.detections, drawn.detections, resamples=50, generator=generator()
    )
    for difference in found.values():
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)
        assert not difference.certain


def test_a_clearly_worse_model_is_told_apart(scenes: Callable[[int], Any]) -> None:
    drawn = scenes(0)
    bad = worse(drawn.detections, 8)
    pair = (drawn.detections, bad)
    forth, back = (
        paired_bootstrap(drawn.dataset, *order, "box", resamples=200, generator=generator())["AP"]
        for order in (pair, pair[::-1])
    )
    assert forth.high < 0
    assert forth.certain
    assert back.low > 0
    assert back.certain
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-forth.difference, -forth.high, -forth.low)
    )


def test_the_order_of_pictures_does_not_matter(scenes: Callable[[int], Any]) -> None:
    drawn = scenes(0)
    turned = dataclasses.replace(drawn.dataset, records=drawn.dataset.records[::-1])
    both = (drawn.detections, worse(drawn.detections, 3))
    options: dict[str, Any] = {"kind": "box", "resamples": 20}
    assert paired_bootstrap(
        drawn.dataset, *both, **options, generator=generator()
    ) == paired_bootstrap(turned, *(d[::-1] for d in both), **options, generator=generator())


def test_a_class_counts_where_a_resample_has_it() -> None:
    """Class b is in one picture of 30, always missed: a resample without it has an AP of 1."""
    dataset, right = pictures(30, SQUARE)
    label = Label(1, MISSED, rle.encode_roi(np.ones((40, 40), bool), 55, 10, 80, 100))
    first = dataclasses.replace(dataset.records[0], labels=(*dataset.records[0].labels, label))
    dataset = dataclasses.replace(dataset, records=(first, *dataset.records[1:]))
    nothing = pictures(30)[1]
    ap = paired_bootstrap(dataset, nothing, right, resamples=400, generator=generator())["AP"]
    assert (ap.a, ap.b) == pytest.approx((0, 0.5))
    assert (ap.low, ap.high) == pytest.approx((0.5, 1.0))


def test_without_instances_nothing_is_known() -> None:
    dataset, right = pictures(3, SQUARE)
    empty = dataclasses.replace(
        dataset, records=tuple(dataclasses.replace(r, labels=()) for r in dataset.records)
    )
    found = paired_bootstrap(empty, right, right, resamples=5, generator=generator())["AP"]
    assert all(math.isnan(value) for value in dataclasses.astuple(found))
    assert not found.certain


def test_certain_means_that_zero_is_outside() -> None:
    assert Difference(0.1, 0.2, 0.1, 0.05, 0.15).certain
    assert not Difference(0.1, 0.2, 0.1, 0.0, 0.15).certain
    assert not Difference(0.2, 0.1, -0.1, -0.15, 0.01).certain


def test_bad_options_are_named() -> None:
    dataset, right = pictures(2, SQUARE)
    with pytest.raises(OptionError, match=r"no statistic 'AP500'.*'AP50'"):
        paired_bootstrap(dataset, right, right, statistics=["AP500"], generator=generator())
    with pytest.raises(OptionError, match="resamples is 0"):
        paired_bootstrap(dataset, right, right, resamples=0, generator=generator())
    none = dataclasses.replace(dataset, records=())
    with pytest.raises(LabelError, match=r"labels\.json has no picture"):
        paired_bootstrap(none, [], [], generator=generator())
