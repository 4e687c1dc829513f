"""Four drawn pictures with labels, as files: what a user would train on, only smaller."""

import json
from pathlib import Path

import cv2
import numpy as np


def draw_pictures(folder: Path, seed: int = 0) -> Path:
    """Write pictures with a red disc and a blue square each; the path of their COCO JSON."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for number in range(1, 5):
        picture = random.integers(90, 160, (240, 320, 3), np.uint8)
        r, s = random.integers(30, 50, 2)
        x, y = random.integers(55, 105), random.integers(60, 180)
        disc = np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], 1)
        corner = np.array([random.integers(170, 260), random.integers(20, 180)])
        square = corner + s * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        for category, outline, colour in ((7, disc, (40, 40, 220)), (9, square, (220, 60, 30))):
            cv2.fillPoly(picture, [outline.round().astype(np.int32)], colour)
            low, high = outline.min(0), outline.max(0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(np.prod(high - low)),
                    "iscrowd": 0,
                    "segmentation": [outline.ravel().tolist()],
                }
            )
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 320, "height": 240})
    categories = [{"id": 7, "name": "disc"}, {"id": 9, "name": "square"}]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "labels.json"
    path.write_text(json.dumps(labels))
    return path
