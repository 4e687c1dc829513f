"""What ``quantize`` calibrates on: a folder of pictures, or labels and the pictures they name."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mobileyolact.cli.measuring import open_labels
from mobileyolact.cli.sources import find_pictures
from mobileyolact.errors import LabelError, OptionError

if TYPE_CHECKING:
    from mobileyolact.labels.dataset import Dataset

OPTION = "--calibration"


def open_calibration(source: Path, images: Path | None) -> "tuple[list[Path], Dataset | None]":
    """Pictures to calibrate on, and labels of them if there are any.

    Labels of a folder are the only label file in it or, where it has none, in the folder above,
    if it names a picture of the folder.

    Args:
        source: a folder of pictures, one that holds nothing but their labels, or a label file.
        images: the folder of labelled pictures that do not lie beside their labels.

    Raises:
        OptionError: there is nothing, or no picture in it.
        LabelError: labels that cannot be read.
    """
    if source.is_file():
        labels = open_labels(source, images)
        return [record.path for record in labels.records], labels
    files = _label_files(source)
    try:
        pictures = find_pictures(source, OPTION)
    except OptionError:
        if len(files) != 1 or files[0].parent != source:
            raise
        return open_calibration(files[0], images)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        typer.echo(f"note: labels of the pictures could be {names}; name one with --val", err=True)
    return pictures, _labels_of(source, files[0], images) if len(files) == 1 else None


def _label_files(folder: Path) -> list[Path]:
    from mobileyolact.labels.formats import is_labels

    above = folder / ".." if folder.name in ("", "..") else folder.parent
    for place in (folder, above):
        if found := sorted(p for p in place.glob("*") if p.is_file() and is_labels(p)):
            return found
    return []


def _labels_of(folder: Path, file: Path, images: Path | None) -> "Dataset | None":
    """The labels in ``file`` if they can be read and are of pictures in ``folder``."""
    try:
        labels = open_labels(file, images)
    except LabelError as error:
        typer.echo(f"note: {error}", err=True)
        return None
    home = folder.resolve()
    return labels if any(r.path.resolve().parent == home for r in labels.records) else None
