"""What a run learns from and is judged on: labels, pictures without labels, validation."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.labels.check import LabelCounts, check_labels
from mobileyolact.labels.dataset import Dataset, match_name, merge
from mobileyolact.labels.formats import read_labels
from mobileyolact.train.unlabelled import read_unlabelled

_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class Material:
    """``lines`` tell a user what there is, and what was left out and why."""

    dataset: Dataset
    validation: Dataset | None
    lines: tuple[str, ...]


def read_material(
    data: Sequence[Path],
    val: Path | None = None,
    images: Path | None = None,
    unlabelled: Sequence[Path] = (),
    taught: tuple[ClassInfo, ...] | None = None,
) -> Material:
    """Read and check label files and folders of pictures.

    Args:
        data: label files, merged by class name; none if there are ``unlabelled`` pictures.
        val: label file of the validation pictures.
        images: the folder of the labelled pictures where they do not lie beside the labels.
        unlabelled: folders of pictures without labels.
        taught: classes of the teacher, if there is one; without labels they are learnt.

    Raises:
        OptionError: there is nothing to learn from.
        LabelError: labels or pictures cannot be used; the message says why.
    """
    if unlabelled and taught is None:
        raise OptionError("pictures without labels need a teacher; give --teacher coco, or a file")
    if data:
        dataset = merge([read_labels(path, images) for path in data])
        lines = [f"data: {_counts(check_labels(dataset))} of {_names(dataset.classes)}"]
    elif unlabelled and taught is not None:
        dataset = Dataset(taught, (), unlabelled[0])
        lines = [f"data: no labels, but a teacher of {_names(taught)}"]
    else:
        raise OptionError("there is nothing to train on; give --data LABELS")
    problems = list(dataset.problems)
    if unlabelled:
        more, unreadable = read_unlabelled(unlabelled, dataset.records)
        dataset = dataclasses.replace(dataset, records=(*dataset.records, *more))
        lines.append(f"without labels: {len(more)} pictures")
        problems += unreadable
    validation = None if val is None else read_labels(val, images)
    if validation is not None:
        lines.append(f"validation: {_counts(check_labels(validation))}")
        problems += validation.problems
        _require_common_class(dataset, validation)
    lines += [f"left out: {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"left out: {len(problems) - _MOST_PROBLEMS} more")
    return Material(dataset, validation, tuple(lines))


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names with commas, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _counts(counts: LabelCounts) -> str:
    return f"{counts.images} pictures with {counts.objects} labels"


def _names(classes: Sequence[ClassInfo]) -> str:
    return f"{len(classes)} classes ({listed([c.name for c in classes])})"


def _require_common_class(dataset: Dataset, validation: Dataset) -> None:
    if all(match_name(info.name, dataset.classes) is None for info in validation.classes):
        raise LabelError(
            f"{validation.source} has no class of the training labels, but "
            f"{_names(validation.classes)}; give validation labels of the same classes"
        )
