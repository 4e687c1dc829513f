"""Segment four photographs that scikit-image's wheel bundles; ``make demo`` runs this.

Nothing is downloaded. The pictures are copied into ``demo/photos``, results go to ``demo/``.
"""

import importlib.resources
import subprocess
import sys
from pathlib import Path

PHOTOS = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
}


def main() -> int:
    """Copy the photographs and run ``mobileyolact predict`` on them; returns its exit code."""
    results = Path("demo")
    photos = results / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    bundled = importlib.resources.files("skimage") / "data"
    for name, file in PHOTOS.items():
        (photos / f"{name}.png").write_bytes((bundled / file).read_bytes())
    command = Path(sys.executable).with_name("mobileyolact")
    return subprocess.call(
        [command, "predict", photos, "-o", results, "--json", results / "instances.json"]
    )


if __name__ == "__main__":
    sys.exit(main())
