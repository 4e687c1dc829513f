"""A small labels file with pictures, to be changed by each test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Content = dict[str, list[Any]]
Write = Callable[[Content], Path]

SQUARE = [10, 10, 30, 10, 30, 25, 10, 25]


@pytest.fixture
def content() -> Content:
    """Two pictures of 40x30, ids and categories far from 0; one object in the first."""
    return {
        "images": [
            {"id": 700, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
        "annotations": [
            {
                "id": 5,
                "image_id": 700,
                "category_id": 3,
                "bbox": [10, 10, 20, 15],
                "segmentation": [SQUARE],
                "area": 300,
                "iscrowd": 0,
            }
        ],
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the labels, with grey pictures of 40x30 beside them."""

    def to_file(content: Content) -> Path:
        for name in ("a.png", "b.png"):
            Image.new("RGB", (40, 30), "grey").save(tmp_path / name)
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(content))
        return path

    return to_file
