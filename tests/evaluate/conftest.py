"""Labels and detections drawn by chance, as our types and as COCO's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.evaluate.average_precision import Detections
from mobileyolact.labels.dataset import Dataset, Label, Record

HEIGHT, WIDTH = 240, 320
NAMES = ("person", "dog", "kite")


@dataclass(frozen=True)
class Scenes:
    """The same pictures twice: for us, and for pycocotools (``coco``, ``results``)."""

    dataset: Dataset
    detections: tuple[Detections, ...]
    coco: dict[str, Any]
    results: list[dict[str, Any]]


def ellipse(box: np.ndarray) -> np.ndarray:
    """A mask that fills the ellipse in an xyxy box."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    x1, y1, x2, y2 = box
    return ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 < 1


def octagon(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = box
    turn = np.arange(8) * np.pi / 4 + 0.3
    xs = (x1 + x2) / 2 + (x2 - x1) / 2 * np.cos(turn)
    ys = (y1 + y2) / 2 + (y2 - y1) / 2 * np.sin(turn)
    return np.stack([xs, ys], axis=1).ravel().tolist()


def draw_scenes(seed: int, pictures: int = 12) -> Scenes:
    """Objects of all three sizes, polygons and RLE, crowds; detections from perfect to absurd."""
    random = np.random.default_rng(seed)
    coco: dict[str, Any] = {
        "categories": [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(NAMES)],
        "images": [],
        "annotations": [],
    }
    records, detections, results = [], [], []
    ids = random.permutation(1000)[:pictures].tolist()
    for image_id in ids:
        coco["images"].append({"id": image_id, "height": HEIGHT, "width": WIDTH})
        labels, rows = [], []
        for _ in range(random.integers(0, 7)):
            box = draw_box(random)
            index, crowd = int(random.integers(2)), bool(random.random() < 0.15)
            mask = rle.encode(ellipse(box))
            segmentation: Any = (tuple(octagon(box)), tuple(octagon(box * 0.9)))
            if crowd or random.random() < 0.4:
                segmentation = mask
            area = float(rle.area(mask) * random.uniform(0.8, 1.2))
            number = len(coco["annotations"]) + 1
            x1, y1, x2, y2 = box.tolist()
            labels.append(Label(index, (x1, y1, x2, y2), segmentation, crowd, number, area))
            coco["annotations"].append(
                {
                    "id": number,
                    "image_id": image_id,
                    "category_id": 10 * (index + 1),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": [list(part) for part in segmentation]
                    if isinstance(segmentation, tuple)
                    else dict(segmentation),
                    "iscrowd": int(crowd),
                    "area": area,
                }
            )
            for _ in range(random.integers(0, 3)):
                moved = box + random.normal(0, random.choice([0.5, 5.0]), 4)
                moved[2:] = np.maximum(moved[2:], moved[:2] + 2)
                rows.append((moved, index if random.random() < 0.9 else 1 - index))
        rows += [(draw_box(random), int(random.integers(3))) for _ in range(random.integers(3))]
        # Few different scores, so that ties happen.
        scores = random.integers(1, 10, len(rows)).astype(np.float32) / 10
        boxes = np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4)
        masks = tuple(rle.encode(ellipse(box)) for box in boxes)
        indices = np.array([index for _, index in rows], dtype=np.intp)
        records.append(Record(image_id, Path(f"{image_id}.jpg"), WIDTH, HEIGHT, tuple(labels)))
        detections.append(Detections(boxes, scores, indices, masks))
        for box, score, index, mask in zip(
            boxes.tolist(), scores.tolist(), indices, masks, strict=True
        ):
            results.append(
                {
                    "image_id": image_id,
                    "category_id": 10 * (int(index) + 1),
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "segmentation": dict(mask),
                    "score": score,
                }
            )
    classes = tuple(ClassInfo(i, name, 10 * (i + 1)) for i, name in enumerate(NAMES))
    dataset = Dataset(classes, tuple(records), Path("labels.json"))
    return Scenes(dataset, tuple(detections), coco, results)


def draw_box(random: np.random.Generator) -> np.ndarray:
    width, height = np.exp(random.uniform(np.log(8), np.log(180), 2))
    x, y = random.uniform(0, WIDTH - width), random.uniform(0, HEIGHT - height)
    return np.array([x, y, x + width, y + height])


@pytest.fixture(scope="session")
def scenes() -> Callable[[int], Scenes]:
    return draw_scenes
