"""Draw what a model finds on pictures that may be shown, as docs/gallery.md.

    python research/gallery.py MODEL --data LABELS

Of the labels' pictures the first 40 under COCO's licence 4 (Creative Commons Attribution) are
taken, in the order of their ids, whatever comes out: nothing is chosen for its looks.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from mobileyolact import Predictor
from mobileyolact.labels.formats import read_labels
from mobileyolact.runtime.draw import draw
from mobileyolact.runtime.image import open_image

DOCS = Path(__file__).parents[1] / "docs"
ATTRIBUTION = 4  # COCO's number of CC BY 2.0
COUNT, COLUMNS, ROWS = 40, 4, 5
TILE = (300, 225)  # width, height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    entries = json.loads(options.data.read_text(encoding="utf-8"))["images"]
    shown = sorted((e for e in entries if e["license"] == ATTRIBUTION), key=lambda e: e["id"])
    shown = shown[:COUNT]
    paths = {record.id: record.path for record in read_labels(options.data).records}
    with Predictor(options.model) as predictor:
        tiles = [tile(predictor, paths[entry["id"]]) for entry in shown]
    lines = [
        "# What it finds",
        "",
        "<!-- written by research/gallery.py -->",
        "",
        f"The embedded model with its defaults on {len(shown)} pictures of COCO val2017 that it",
        "was not trained on: the first ones under a licence that lets them be shown, good or bad.",
    ]
    for number, start in enumerate(range(0, len(shown), COLUMNS * ROWS), 1):
        path = DOCS / "images" / f"gallery{number}.jpg"
        part = tiles[start : start + COLUMNS * ROWS]
        rows = [np.hstack(part[i : i + COLUMNS]) for i in range(0, len(part), COLUMNS)]
        cv2.imwrite(str(path), np.vstack(rows)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
        lines += ["", f"![pictures {start + 1} to {start + len(part)}](images/{path.name})"]
    lines += [
        "",
        "Photographs, row by row, under [CC BY 2.0](https://creativecommons.org/licenses/by/2.0/),",
        "reduced and with masks drawn over them:",
        "",
        *(f"{i}. <{entry['flickr_url']}>" for i, entry in enumerate(shown, 1)),
    ]
    (DOCS / "gallery.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tile(predictor: Predictor, path: Path) -> np.ndarray:
    """The picture with its masks on grey, at TILE."""
    image = open_image(path)
    drawn = draw(image, predictor(image))
    scale = min(TILE[0] / drawn.shape[1], TILE[1] / drawn.shape[0])
    size = (round(drawn.shape[1] * scale), round(drawn.shape[0] * scale))
    small = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
    board = np.full((TILE[1], TILE[0], 3), 60, np.uint8)
    x, y = (TILE[0] - size[0]) // 2, (TILE[1] - size[1]) // 2
    board[y : y + size[1], x : x + size[0]] = small
    return board


if __name__ == "__main__":
    main()
