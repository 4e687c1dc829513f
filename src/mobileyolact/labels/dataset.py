"""Pictures with labelled objects, whatever format they came from."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError
from mobileyolact.labels.rasterise import Polygons, rasterise
from mobileyolact.rle import Rle

CLASS_AGNOSTIC = -1  # class index of an object that teaches its mask and no class


@dataclass(frozen=True)
class Label:
    """One object. ``box`` is xyxy in picture pixels, x in 0..width.

    ``segmentation`` is COCO polygons (each x, y, x, y, ...), a COCO RLE, or ``None`` for a box
    without a mask. ``area`` is the stated area in square pixels, if there is one.
    """

    class_index: int
    box: tuple[float, float, float, float]
    segmentation: Polygons | Rle | None
    crowd: bool = False
    id: int | str = 0
    area: float | None = None

    def mask(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """The mask (height, width) of this object.

        Raises:
            LabelError: there is no segmentation, or an RLE of another size.
        """
        if self.segmentation is None:
            raise LabelError(f"label {self.id} has a box but no mask; draw one or leave it out")
        if isinstance(self.segmentation, tuple):
            return rasterise(self.segmentation, height, width)
        if list(self.segmentation["size"]) != [height, width]:
            raise LabelError(
                f"label {self.id} has a mask of size {self.segmentation['size']} (height, width), "
                f"but its picture is {height} x {width}; export the labels again"
            )
        return rle.decode(self.segmentation)


@dataclass(frozen=True)
class Record:
    """One picture. ``exhaustive`` are the classes of which every object is labelled.

    ``None`` means all classes. Of other classes there may be unlabelled objects: they must not
    be taught as background, and predictions of them are not judged.
    """

    id: int | str
    path: Path
    width: int
    height: int
    labels: tuple[Label, ...]
    exhaustive: frozenset[int] | None = None


@dataclass(frozen=True)
class Dataset:
    """Classes and pictures of one label file; ``problems`` are the entries left out, and why."""

    classes: tuple[ClassInfo, ...]
    records: tuple[Record, ...]
    source: Path
    problems: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A class name as it is compared: case, ``_`` and ``-`` make no difference."""
    return name.strip().casefold().replace("_", " ").replace("-", " ")


def match_name(name: str, classes: Sequence[ClassInfo]) -> int | None:
    """Position of the class called ``name``, else of the first that is ``plain`` the same."""
    names = [info.name for info in classes]
    if name in names:
        return names.index(name)
    alike = [plain(other) for other in names]
    return alike.index(plain(name)) if plain(name) in alike else None


def merge(datasets: Sequence[Dataset]) -> Dataset:
    """One dataset of several; classes are united by name, the first file's ids are kept.

    A file that labels no class completely and whose classes occur in no other file has only
    masks to teach: its labels become ``CLASS_AGNOSTIC`` and its classes are not added, so a
    single such file leaves no class. In the records of the other files, classes which their
    file does not have count as unlabelled.
    """
    mask_only = [_is_mask_only(d, datasets) for d in datasets]
    if mask_only == [False]:
        return datasets[0]
    classes: list[ClassInfo] = []
    index_of: dict[str, int] = {}
    ids: set[int] = set()
    for dataset, agnostic in zip(datasets, mask_only, strict=True):
        for info in () if agnostic else dataset.classes:
            if plain(info.name) not in index_of:
                index = len(classes)
                original = info.original_id
                if original in ids:
                    original = max(ids) + 1
                ids.add(original)
                index_of[plain(info.name)] = index
                classes.append(ClassInfo(index, info.name, original))
    records: list[Record] = []
    for dataset in datasets:
        mapping = {c.index: index_of.get(plain(c.name), CLASS_AGNOSTIC) for c in dataset.classes}
        records += [_renumber(record, mapping, len(classes)) for record in dataset.records]
    problems = tuple(p for d in datasets for p in d.problems)
    return Dataset(tuple(classes), tuple(records), datasets[0].source, problems)


def _is_mask_only(dataset: Dataset, datasets: Sequence[Dataset]) -> bool:
    names = {plain(c.name) for c in dataset.classes}
    others = {plain(c.name) for d in datasets if d is not dataset for c in d.classes}
    return not names & others and all(
        record.exhaustive == frozenset() for record in dataset.records
    )


def _renumber(record: Record, mapping: dict[int, int], classes: int) -> Record:
    labels = tuple(
        dataclasses.replace(label, class_index=mapping[label.class_index])
        for label in record.labels
    )
    known = mapping.keys() if record.exhaustive is None else record.exhaustive & mapping.keys()
    exhaustive: frozenset[int] | None = frozenset(mapping[i] for i in known) - {CLASS_AGNOSTIC}
    if classes and exhaustive == frozenset(range(classes)):
        exhaustive = None
    return dataclasses.replace(record, labels=labels, exhaustive=exhaustive)
