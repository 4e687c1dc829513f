"""What is in a dataset, and whether anything can be learnt from it."""

from dataclasses import dataclass

from mobileyolact.errors import LabelError
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Record
from mobileyolact.labels.pictures import picture_size


@dataclass(frozen=True)
class LabelCounts:
    """How much of what a dataset holds.

    ``objects`` are labels that can be learnt from, so no crowd regions; ``masks`` of them have a
    segmentation, ``class_agnostic`` of them no class. ``per_class`` counts objects by class name,
    ``empty_images`` pictures without any label. ``problems`` are what reading left out.
    """

    images: int
    empty_images: int
    objects: int
    masks: int
    crowds: int
    class_agnostic: int
    per_class: dict[str, int]
    problems: tuple[str, ...]


def count_labels(dataset: Dataset) -> LabelCounts:
    """Count pictures, labels and problems."""
    labels = [label for record in dataset.records for label in record.labels]
    objects = [label for label in labels if not label.crowd]
    per_class = dict.fromkeys(range(len(dataset.classes)), 0)
    agnostic = 0
    for label in objects:
        if label.class_index == CLASS_AGNOSTIC:
            agnostic += 1
        else:
            per_class[label.class_index] += 1
    return LabelCounts(
        images=len(dataset.records),
        empty_images=sum(not record.labels for record in dataset.records),
        objects=len(objects),
        masks=sum(label.segmentation is not None for label in objects),
        crowds=len(labels) - len(objects),
        class_agnostic=agnostic,
        per_class={info.name: per_class[info.index] for info in dataset.classes},
        problems=dataset.problems,
    )


def check_labels(dataset: Dataset) -> LabelCounts:
    """Count, and refuse a dataset that nothing or only nonsense could be learnt from.

    Reads the header of every picture.

    Raises:
        LabelError: no objects, no classes or no masks are left, and the message names the field
            that is to blame; or a picture has another size than its labels say.
    """
    counts = count_labels(dataset)
    where = dataset.source
    if not counts.objects and counts.crowds:
        raise LabelError(
            f"all {counts.crowds} labels of {where} have 'iscrowd' 1, and crowds are not learnt "
            "from; write 'iscrowd' 0 for single objects, also where the mask is an RLE"
        )
    if not counts.objects:
        raise LabelError(
            f"the list 'annotations' of {where} has no label for its {counts.images} pictures; "
            "label objects first"
        )
    if not dataset.classes or counts.class_agnostic == counts.objects:
        raise LabelError(
            f"no label of {where} has a class: 'labeled_category_ids' is empty in every picture, "
            "which means masks without classes; list the labelled categories there, or remove "
            "the field if all are labelled"
        )
    if not counts.masks:
        raise LabelError(
            f"none of the {counts.objects} labels of {where} has a usable 'segmentation', and "
            "boxes alone do not teach masks; export polygons or RLE"
        )
    _check_sizes(dataset.records)
    return counts


def _check_sizes(records: tuple[Record, ...]) -> None:
    wrong = []
    for record in records:
        size = picture_size(record.path)
        if size is None:
            raise LabelError(f"{record.path} is not a readable picture; replace or remove it")
        if size != (record.width, record.height):
            wrong.append((record, size))
    if wrong:
        record, (width, height) = wrong[0]
        raise LabelError(
            f"{len(wrong)} of {len(records)} pictures have another size than their labels say, "
            f"for example {record.path} is {width}x{height} as shown (EXIF rotation applied), but "
            f"its 'width' and 'height' are {record.width}x{record.height}; "
            "take the pictures that were labelled, or export the labels again"
        )
