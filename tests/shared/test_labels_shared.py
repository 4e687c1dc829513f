"""The label files that lie beside the repository, read whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from mobileyolact import rle
from mobileyolact.labels.check import check_labels
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, merge
from mobileyolact.labels.formats import read_labels

FILES = [
    "coco-mini/train.json", "coco-mini/train_partial.json", "coco-mini/val.json",
    "coco-mini/val_person.json", "everyday/train.json", "objects/train.json",
    "balloon/train.json", "balloon/val.json", "fruits_nuts/train.json", "fruits_nuts/val.json",
    "car_parts/train.json", "car_parts/val.json", "driving_coad/train.json",
    "driving_coad/val.json", "buildings/train.json", "buildings/val.json",
    "formats/cvat_coco/annotations/instances_default.json",
    "formats/labelme_coco/annotations.json",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_whole(shared: Path, name: str) -> None:
    path = shared / "data" / name
    content = json.loads(path.read_text())
    dataset = read_labels(path)
    counts = check_labels(dataset)
    crowds = sum(bool(a.get("iscrowd")) for a in content["annotations"])
    assert counts.images == len(content["images"])
    assert counts.crowds == crowds
    assert counts.objects == counts.masks == len(content["annotations"]) - crowds
    assert len(dataset.classes) == len(content["categories"])
    # CVAT wrote one box without width.
    assert len(dataset.problems) == ("cvat" in name)


@pytest.mark.parametrize("name", ["coco-mini/val.json", "balloon/val.json", "car_parts/val.json"])
def test_masks_are_those_of_pycocotools(shared: Path, name: str) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(str(shared / "data" / name))
    ious = []
    for record in read_labels(shared / "data" / name).records:
        for label in record.labels:
            expected = rle.decode(coco.annToRLE(coco.anns[label.id]))
            found = label.mask(record.height, record.width)
            if isinstance(label.segmentation, dict):
                assert np.array_equal(found, expected)
            else:
                ious.append((found & expected).sum() / (found | expected).sum())
    assert np.mean(ious) > 0.95


def test_the_training_sets_of_the_embedded_model_merge(shared: Path) -> None:
    names = ("coco-mini/train", "coco-mini/train_partial", "everyday/train", "objects/train")
    parts = [read_labels(shared / "data" / f"{name}.json") for name in names]
    united = merge(parts)
    assert [info.original_id for info in united.classes] == [
        info.original_id for info in parts[0].classes
    ]
    counts = check_labels(united)
    assert counts.images == sum(len(part.records) for part in parts)
    assert counts.class_agnostic == len([x for r in parts[3].records for x in r.labels])
    agnostic = [r for r in united.records if any(x.class_index == CLASS_AGNOSTIC for x in r.labels)]
    assert all(record.exhaustive == frozenset() for record in agnostic)
