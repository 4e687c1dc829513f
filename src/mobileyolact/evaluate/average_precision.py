"""COCO's average precision of masks and boxes, computed by pycocotools."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from types import FunctionType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mobileyolact import rle
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.labels.dataset import Dataset, Label, Record

Kind = Literal["mask", "box"]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

_AP50 = 0
_SIZES = ("all", "small", "medium", "large")
_MAX_DETECTIONS = 100  # of one class in one picture, COCO's limit for AP


@dataclass(frozen=True, eq=False)
class Detections:
    """What a model found in one picture; masks are kept as run lengths, so that many fit.

    Args:
        boxes: (N, 4) float32 xyxy in picture pixels.
        scores: (N,) float32.
        class_indices: (N,) positions in the dataset's classes.
        masks: N masks of the picture's size.
    """

    boxes: FloatArray
    scores: FloatArray
    class_indices: IndexArray
    masks: tuple[rle.Rle, ...]


@dataclass(frozen=True)
class ClassSummary:
    """AP and AP50 of one class, NaN without an instance, and its number of instances."""

    AP: float
    AP50: float
    instances: int


@dataclass(frozen=True)
class Summary:
    """COCO's figures, 0..1: AP over IoU 0.50:0.05:0.95, at 0.50 and 0.75, and by size of object.

    Small ends at 32 x 32 pixels, medium at 96 x 96. NaN where there is no instance.
    """

    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    per_class: dict[str, ClassSummary]


def average_precision(
    dataset: Dataset,
    detections: Sequence[Detections],
    kind: Kind = "mask",
    classes: Collection[int] | None = None,
) -> Summary:
    """The figures that pycocotools gives for the same labels and detections.

    Polygons become masks by COCO's own rule, and size is the ``area`` of the labels file, or of
    the mask where the file has none. The size of a detection is that of its mask for masks, as
    if the results file had no boxes, and that of its box for boxes. In a picture only classes
    that are completely labelled there are judged: labels and detections of others do not count.
    Crowds are areas where detections do not count, and so are, for masks, labels that have
    a box alone.

    Args:
        dataset: the labels.
        detections: one for each of ``dataset.records``.
        kind: what is judged by its overlap.
        classes: indices in ``dataset.classes`` to average over; ``None`` means all.

    Raises:
        OptionError: pycocotools is not installed.
        LabelError: a mask of another size than its picture.
    """
    run = matched_run(dataset, detections, kind, classes)
    _silently(type(run).accumulate, run)
    return _summarise(run, dataset)


def matched_run(
    dataset: Dataset,
    detections: Sequence[Detections],
    kind: Kind = "mask",
    classes: Collection[int] | None = None,
    *,
    by_size: bool = True,
) -> Any:
    """The ``COCOeval`` behind ``average_precision``, detections matched, nothing summed up yet.

    Its categories are indices in ``dataset.classes``; its images count the records in the order
    of their ids. Without ``by_size`` it has one range of areas, ``all``, and takes a third of
    the time.
    """
    coco, evaluator = require_pycocotools("pycocotools.coco", "pycocotools.cocoeval")
    wanted = sorted(range(len(dataset.classes)) if classes is None else set(classes))
    content: dict[str, Any] = {"categories": [{"id": index} for index in wanted]}
    content["images"], truth, found = [], [], []
    pairs = sorted(zip(dataset.records, detections, strict=True), key=_by_id)
    for image, (record, result) in enumerate(pairs):
        content["images"].append({"id": image, "height": record.height, "width": record.width})
        judged = set(wanted) if record.exhaustive is None else set(wanted) & record.exhaustive
        truth += [
            {**_truth(label, record, kind), "image_id": image}
            for label in record.labels
            if label.class_index in judged
        ]
        found += [{**row, "image_id": image} for row in _found(result, kind, judged)]
    run = evaluator.COCOeval(
        _index(coco.COCO(), {**content, "annotations": truth}),
        _index(coco.COCO(), {**content, "annotations": found}),
        "segm" if kind == "mask" else "bbox",
    )
    run.params.maxDets = [_MAX_DETECTIONS]
    if not by_size:
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], _SIZES[:1]
    _silently(type(run).evaluate, run)
    return run


def require_pycocotools(*modules: str) -> tuple[Any, ...]:
    """Import parts of pycocotools, which only evaluation needs.

    Raises:
        OptionError: it is not installed.
    """
    from importlib import import_module

    try:
        return tuple(import_module(module) for module in modules)
    except ImportError:
        raise OptionError(
            "evaluation needs pycocotools, which this environment lacks; "
            "install the extra 'eval': pip install 'mobileyolact[eval]'"
        ) from None


def label_mask(label: Label, record: Record) -> Any:
    """The mask of a label that has one, as pycocotools stores and makes it.

    Raises:
        LabelError: a mask of another size than its picture.
    """
    (mask,) = require_pycocotools("pycocotools.mask")
    size = [record.height, record.width]
    segmentation = label.segmentation
    if isinstance(segmentation, tuple):
        return mask.merge(mask.frPyObjects([list(polygon) for polygon in segmentation], *size))
    if segmentation is None or list(segmentation["size"]) != size:
        raise LabelError(
            f"label {label.id} of {record.path} has no mask of the picture's size "
            f"{record.width}x{record.height}; write the labels again for this picture"
        )
    return dict(segmentation)


def _by_id(pair: tuple[Record, Detections]) -> tuple[str, int | str]:
    """The order of pycocotools, which decides between equal scores."""
    identity = pair[0].id
    return type(identity).__name__, identity


def _truth(label: Label, record: Record, kind: Kind) -> dict[str, Any]:
    (mask,) = require_pycocotools("pycocotools.mask")
    x1, y1, x2, y2 = label.box
    bbox = [x1, y1, x2 - x1, y2 - y1]
    row: dict[str, Any] = {"category_id": label.class_index, "bbox": bbox}
    row["iscrowd"] = int(label.crowd or (kind == "mask" and label.segmentation is None))
    row["area"] = label.area
    if label.segmentation is None:
        corners = [x1, y1, x2, y1, x2, y2, x1, y2]
        row["segmentation"] = mask.frPyObjects([corners], record.height, record.width)[0]
        row["area"] = bbox[2] * bbox[3] if label.area is None else label.area
    elif kind == "mask" or label.area is None:
        row["segmentation"] = label_mask(label, record)
        row["area"] = mask.area(row["segmentation"]) if label.area is None else label.area
    return row


def _found(result: Detections, kind: Kind, judged: Collection[int]) -> Iterator[dict[str, Any]]:
    for box, score, index, mask in zip(
        result.boxes.tolist(),
        result.scores.tolist(),
        result.class_indices.tolist(),
        result.masks,
        strict=True,
    ):
        if index in judged:
            row = {"category_id": index, "score": score, "iscrowd": 0}
            if kind == "mask":
                yield {**row, "segmentation": mask, "area": rle.area(mask)}
            else:
                bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                yield {**row, "bbox": bbox, "area": bbox[2] * bbox[3]}


def _index(coco: Any, content: dict[str, Any]) -> Any:
    # From 1: pycocotools takes a match with number 0 for none.
    for row, number in zip(content["annotations"], count(1), strict=False):
        row["id"] = number
    coco.dataset = content
    _silently(type(coco).createIndex, coco)
    return coco


def _silently(method: Callable[..., Any], instance: Any) -> None:
    """Call a method of pycocotools that prints its progress, without that.

    Its code runs with a ``print`` that does nothing. Redirecting standard output would do it for
    all threads of the process.
    """
    assert isinstance(method, FunctionType)
    names = {**method.__globals__, "print": lambda *_: None}
    FunctionType(method.__code__, names, method.__name__, method.__defaults__, method.__closure__)(
        instance
    )


def _summarise(run: Any, dataset: Dataset) -> Summary:
    # (IoU, recall, class, size, 1), -1 where there is no instance
    precision = run.eval["precision"][..., 0]
    ap75 = int(np.flatnonzero(np.isclose(run.params.iouThrs, 0.75))[0])
    truth = run.cocoGt.dataset["annotations"]
    counts = np.bincount(
        [row["category_id"] for row in truth if not row["iscrowd"]], minlength=len(dataset.classes)
    )
    per_class = {
        dataset.classes[index].name: ClassSummary(
            AP=_mean(precision[:, :, k, 0]),
            AP50=_mean(precision[_AP50, :, k, 0]),
            instances=int(counts[index]),
        )
        for k, index in enumerate(run.params.catIds)
    }
    every, small, medium, large = (
        _mean(precision[..., run.params.areaRngLbl.index(size)]) for size in _SIZES
    )
    return Summary(
        AP=every,
        AP50=_mean(precision[_AP50, ..., 0]),
        AP75=_mean(precision[ap75, ..., 0]),
        APs=small,
        APm=medium,
        APl=large,
        per_class=per_class,
    )


def _mean(precision: npt.NDArray[np.float64]) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")
