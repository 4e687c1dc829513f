"""Copy a label file without `labeled_category_ids`: what is not labelled is then background.

    python research/as_background.py LABELS OUT

For the rows `partial-*` of experiments.toml. OUT belongs beside LABELS, so that the pictures are
found.
"""

import argparse
import json
from pathlib import Path

from mobileyolact.files import write_beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("out", type=Path, metavar="OUT")
    options = parser.parse_args()
    content = json.loads(options.labels.read_text(encoding="utf-8"))
    for image in content["images"]:
        image.pop("labeled_category_ids", None)
    with write_beside(options.out) as beside:
        beside.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
