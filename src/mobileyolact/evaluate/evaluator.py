"""Runs a model over labelled pictures and says how good its masks and boxes are."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobileyolact.errors import LabelError, OptionError, nearest
from mobileyolact.evaluate.average_precision import (
    Detections,
    IndexArray,
    Summary,
    average_precision,
    label_mask,
    require_pycocotools,
)
from mobileyolact.labels.dataset import Dataset, Record, match_name
from mobileyolact.runtime.backends.base import Backend
from mobileyolact.runtime.boxes import box_iou
from mobileyolact.runtime.predictor import Predictor

SCORE_THRESHOLD = 0.01
MAX_DETECTIONS = 100
MATCH_SCORE = 0.3
MATCH_BOX_IOU = 0.5


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on a dataset.

    Args:
        mask: average precision of masks.
        box: average precision of boxes.
        max_candidates: the postprocessing's limit of boxes decoded in a picture.
        mean_matched_iou: mean IoU of masks whose boxes are right, see ``mean_matched_iou``.
        matched: number of these masks.
        unknown_classes: evaluated classes that the model does not know, so their AP is 0.
        classes: indices of the evaluated classes in ``dataset.classes``.
        dataset: the labels.
        detections: what was found, one for each of ``dataset.records``.
    """

    mask: Summary
    box: Summary
    max_candidates: int
    mean_matched_iou: float
    matched: int
    unknown_classes: tuple[str, ...]
    classes: tuple[int, ...]
    dataset: Dataset
    detections: tuple[Detections, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values; ``None`` where there is no instance to judge by."""
        plain = {
            "images": len(self.dataset.records),
            "max_candidates": self.max_candidates,
            "mask": dataclasses.asdict(self.mask),
            "box": dataclasses.asdict(self.box),
            "mean_matched_iou": self.mean_matched_iou,
            "matched": self.matched,
            "unknown_classes": list(self.unknown_classes),
        }
        return {key: _without_nan(value) for key, value in plain.items()}


def evaluation_predictor(backend: Backend) -> Predictor:
    """A predictor with settings for ``evaluate``: even weak instances, up to COCO's 100."""
    return Predictor(backend, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS)


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    classes: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Predict on all pictures of a dataset and compare with the labels.

    The model's classes are matched with the dataset's by name. A class of the dataset that the
    model does not know counts as missed, with an AP of 0: the figures of two models on the same
    labels can be compared. Detections of classes that the dataset lacks do not count.

    Args:
        predictor: the model, from ``evaluation_predictor``; a higher score threshold lowers AP.
        dataset: labels and pictures.
        classes: names of the dataset's classes to judge, alone; ``None`` means all.
        progress: called with the number of pictures done, after each.

    Raises:
        OptionError: a class that the dataset lacks, or pycocotools is not installed.
        LabelError: the model knows none of the classes, or a picture has another size than the
            labels say.
        ImageError: a picture cannot be read; figures over fewer pictures would mislead.
    """
    require_pycocotools("pycocotools.cocoeval")
    chosen = _choose(dataset, classes)
    target = [match_name(info.name, dataset.classes) for info in predictor.contract.classes]
    known = [index for index in chosen if index in target]
    if not known:
        raise LabelError(
            f"the model '{predictor.contract.name}' knows no class of {dataset.source}: it knows "
            f"{_listed(predictor.contract.class_names)}, the labels have "
            f"{_listed([dataset.classes[i].name for i in chosen])}; choose another model or labels"
        )
    to_dataset = np.array([-1 if index is None else index for index in target])
    detections = []
    for done, record in enumerate(dataset.records, 1):
        detections.append(_detect(predictor, record, to_dataset, chosen))
        if progress is not None:
            progress(done)
    iou, matched = mean_matched_iou(dataset, detections)
    return Evaluation(
        mask=average_precision(dataset, detections, "mask", chosen),
        box=average_precision(dataset, detections, "box", chosen),
        max_candidates=predictor.options.max_candidates,
        mean_matched_iou=iou,
        matched=matched,
        unknown_classes=tuple(dataset.classes[i].name for i in chosen if i not in known),
        classes=chosen,
        dataset=dataset,
        detections=tuple(detections),
    )


def mean_matched_iou(dataset: Dataset, detections: Sequence[Detections]) -> tuple[float, int]:
    """Mean IoU of masks whose boxes are right, and their number; NaN if there is none.

    Detections with a score of at least ``MATCH_SCORE`` are taken best first; each gets the label
    of its class, not yet taken and no crowd, whose box overlaps it most, by an IoU of at least
    ``MATCH_BOX_IOU``. It tells the quality of masks apart from that of detection.
    """
    ious = [
        iou
        for record, found in zip(dataset.records, detections, strict=True)
        for iou in _matched_ious(record, found)
    ]
    return (float(np.mean(ious)) if ious else math.nan), len(ious)


def _matched_ious(record: Record, found: Detections) -> Iterator[float]:
    (mask,) = require_pycocotools("pycocotools.mask")
    labels = [x for x in record.labels if not x.crowd and x.segmentation is not None]
    strong = [i for i in np.argsort(-found.scores, kind="stable") if found.scores[i] >= MATCH_SCORE]
    if not labels or not strong:
        return
    overlap = box_iou(found.boxes[strong], np.array([label.box for label in labels]))
    of_class = np.array([label.class_index for label in labels])
    overlap[found.class_indices[strong][:, None] != of_class] = 0
    for row, i in enumerate(strong):
        best = int(overlap[row].argmax())
        if overlap[row, best] >= MATCH_BOX_IOU:
            overlap[:, best] = 0
            yield float(mask.iou([found.masks[i]], [label_mask(labels[best], record)], [0])[0, 0])


def _detect(
    predictor: Predictor, record: Record, to_dataset: IndexArray, chosen: Sequence[int]
) -> Detections:
    instances = predictor(record.path)
    if (instances.height, instances.width) != (record.height, record.width):
        raise LabelError(
            f"the labels say that {record.path} is {record.width}x{record.height}, but the picture "
            f"is {instances.width}x{instances.height}; write the labels again for this picture"
        )
    instances = instances[np.isin(to_dataset[instances.class_indices], chosen)]
    return Detections(
        boxes=instances.boxes,
        scores=instances.scores,
        class_indices=to_dataset[instances.class_indices],
        masks=tuple(row["segmentation"] for row in instances.to_coco(record.id)),
    )


def _choose(dataset: Dataset, classes: Sequence[str] | None) -> tuple[int, ...]:
    if classes is None:
        return tuple(range(len(dataset.classes)))
    chosen = []
    for name in classes:
        index = match_name(name, dataset.classes)
        if index is None:
            hint = nearest(name, [info.name for info in dataset.classes])
            raise OptionError(f"{dataset.source} has no class '{name}'{hint}")
        chosen.append(index)
    return tuple(dict.fromkeys(chosen))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
