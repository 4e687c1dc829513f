"""Is one model better than another, or were the pictures kind to it? A paired bootstrap."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobileyolact.errors import LabelError, OptionError, nearest
from mobileyolact.evaluate.average_precision import Detections, Kind, matched_run
from mobileyolact.labels.dataset import Dataset

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Which of COCO's IoU thresholds 0.50:0.05:0.95 each figure averages over.
STATISTICS = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}
CONFIDENCE = 0.95
_MOST_CELLS = 4_000_000  # resamples x detections in memory at once


@dataclass(frozen=True)
class Difference:
    """A figure of models A and B, 0..1, and the interval of its difference B - A.

    NaN where no class has an instance.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero, so that these pictures tell A and B apart."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    dataset: Dataset,
    detections_a: Sequence[Detections],
    detections_b: Sequence[Detections],
    kind: Kind = "mask",
    classes: Collection[int] | None = None,
    *,
    statistics: Sequence[str] = ("AP", "AP50"),
    resamples: int = 1000,
    generator: np.random.Generator,
) -> dict[str, Difference]:
    """How much better B is than A, and how far chance in the choice of pictures may move that.

    As many pictures as there are are drawn with replacement, the same for both models, and the
    figures computed anew; the interval holds the middle 95 % of the differences (percentile
    bootstrap, Efron 1979). Detections are matched once, as pycocotools does; a resample only
    weights the pictures, with the result that pycocotools would give for repeated pictures, up
    to the order of equal scores. A class without an instance in a resample is left out of its
    mean, and a resample without any instance out of the interval.

    Args:
        dataset: the labels.
        detections_a: of the first model, one for each of ``dataset.records``.
        detections_b: of the second.
        kind: what is judged by its overlap.
        classes: indices in ``dataset.classes`` to average over; ``None`` means all.
        statistics: names in ``STATISTICS``.
        resamples: how many; 1000 place the ends of the interval well enough.
        generator: draws the pictures.

    Returns:
        A ``Difference`` for each of ``statistics``.

    Raises:
        OptionError: an unknown statistic, no resample, or pycocotools is not installed.
        LabelError: no picture, or a mask of another size than its picture.
    """
    for name in statistics:
        if name not in STATISTICS:
            raise OptionError(f"there is no statistic '{name}'{nearest(name, STATISTICS)}")
    if resamples < 1:
        raise OptionError(f"the number of resamples is {resamples}, but must be 1 or more")
    pictures = len(dataset.records)
    if not pictures:
        raise LabelError(f"{dataset.source} has no picture to resample; give labels with pictures")
    drawn = generator.multinomial(pictures, np.full(pictures, 1 / pictures), resamples)
    # The first row is the pictures as they are.
    weights = np.concatenate([np.ones((1, pictures), np.int64), drawn])
    a, b = (
        _figures(matched_run(dataset, found, kind, classes, by_size=False), weights, statistics)
        for found in (detections_a, detections_b)
    )
    return {name: _difference(a[name], b[name]) for name in statistics}


@dataclass(frozen=True, eq=False)
class _Matches:
    """All detections of one class, best first, and what they met at each IoU threshold.

    Args:
        picture: (D,) position of the picture of each detection.
        right: (T, D) matched to a label that counts.
        judged: (T, D) counts at all, right or wrong.
        labels: (pictures,) number of labels that count.
    """

    picture: npt.NDArray[np.intp]
    right: BoolArray
    judged: BoolArray
    labels: IntArray


def _matches(run: Any) -> Iterator[_Matches]:
    pictures, thresholds = len(run.params.imgIds), len(run.params.iouThrs)
    for k in range(len(run.params.catIds)):
        entries = run.evalImgs[k * pictures : (k + 1) * pictures]
        met = [(i, entry) for i, entry in enumerate(entries) if entry is not None]
        labels = np.zeros(pictures, np.int64)
        scores: list[float] = []
        picture: list[int] = []
        matched, ignored = [np.zeros((thresholds, 0))], [np.zeros((thresholds, 0))]
        for i, entry in met:
            labels[i] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
            scores += entry["dtScores"]
            picture += [i] * len(entry["dtScores"])
            matched.append(entry["dtMatches"])
            ignored.append(entry["dtIgnore"])
        order = np.argsort(-np.array(scores), kind="stable")
        judged = np.concatenate(ignored, axis=1)[:, order] == 0
        right = (np.concatenate(matched, axis=1)[:, order] != 0) & judged
        yield _Matches(np.array(picture, np.intp)[order], right, judged, labels)


def _figures(run: Any, weights: IntArray, statistics: Sequence[str]) -> dict[str, FloatArray]:
    """(R,) of each statistic; a row of ``weights`` (R, pictures) says how often each counts."""
    ap = np.full((len(weights), len(run.params.catIds), len(run.params.iouThrs)), np.nan)
    for k, matches in enumerate(_matches(run)):
        ap[:, k] = _ap_of_class(matches, weights, run.params.recThrs)
    valid = ~np.isnan(ap)
    figures = {}
    for name in statistics:
        part, counts = ap[..., STATISTICS[name]], valid[..., STATISTICS[name]]
        number = counts.sum(axis=(1, 2))
        total = np.where(counts, part, 0).sum(axis=(1, 2))
        figures[name] = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return figures


def _ap_of_class(matches: _Matches, weights: IntArray, recalls: FloatArray) -> FloatArray:
    """(R, T) average precision, NaN where no label counts.

    Precision at a recall is the best precision from there on, which is always reached at a right
    detection: the others only lower it. So it is enough to look at these, and a right detection
    answers for all of ``recalls`` between that before it and its own.
    """
    thresholds = len(matches.right)
    labels = weights @ matches.labels
    ap = np.zeros((len(weights), thresholds))
    rows = max(1, _MOST_CELLS // max(1, len(matches.picture)))
    for first in range(0, len(weights), rows):
        chunk = slice(first, first + rows)
        repeated = weights[chunk][:, matches.picture]
        for t in range(thresholds):
            right = np.flatnonzero(matches.right[t])
            if right.size == 0:
                continue
            found = repeated[:, right].cumsum(axis=1)
            judged = (repeated * matches.judged[t]).cumsum(axis=1)[:, right]
            precision = found / (judged + np.spacing(1))
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recall = found / np.maximum(labels[chunk, None], 1)
            reached = np.searchsorted(recalls, recall, side="right")
            ap[chunk, t] = (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(recalls)
    ap[labels == 0] = np.nan
    return ap


def _difference(a: FloatArray, b: FloatArray) -> Difference:
    """From the figures of the pictures as they are, first, and of all resamples."""
    gained = b - a
    drawn = gained[1:][~np.isnan(gained[1:])]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail)) if drawn.size else (np.nan, np.nan)
    return Difference(float(a[0]), float(b[0]), float(gained[0]), float(low), float(high))
