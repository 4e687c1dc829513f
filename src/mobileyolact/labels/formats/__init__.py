"""Readers of label formats.

A reader is a class with two static methods, ``probe(path)``, how sure it is from 0 to 1 that
``path`` is of its format, and ``read(path, images)``. To add one, write a file here and
decorate the class with ``@register_format(name)``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from mobileyolact.errors import LabelError
from mobileyolact.labels.dataset import Dataset


class LabelFormat(Protocol):
    """A reader; see the module's text."""

    @staticmethod
    def probe(path: Path) -> float: ...

    @staticmethod
    def read(path: Path, images: Path | None) -> Dataset: ...


FORMATS: dict[str, type[LabelFormat]] = {}

FormatClass = TypeVar("FormatClass", bound=type[LabelFormat])


def register_format(name: str) -> Callable[[FormatClass], FormatClass]:
    """Class decorator that makes a reader known under ``name``."""

    def register(cls: FormatClass) -> FormatClass:
        FORMATS[name] = cls
        return cls

    return register


def read_labels(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Read labels of any known format.

    Args:
        path: the label file.
        images: the folder of the pictures; by default they are looked for beside the labels
            and in ``images/`` there.

    Raises:
        LabelError: no such file, no known format, or nothing in it can be used.
    """
    path, folder = Path(path), None if images is None else Path(images)
    if not path.exists():
        raise LabelError(f"there is no label file {path}; check the path")
    if folder is not None and not folder.is_dir():
        raise LabelError(f"there is no picture folder {folder}; check --images")
    sure = {name: fmt.probe(path) for name, fmt in FORMATS.items()}
    best = max(sure, key=lambda name: sure[name])
    if not sure[best]:
        raise LabelError(
            f"{path} is of no known label format ({', '.join(FORMATS)}); export it as COCO JSON"
        )
    return FORMATS[best].read(path, folder)


def is_labels(path: Path) -> bool:
    """Whether some format takes this file for labels rather than not."""
    return any(fmt.probe(path) > 0.5 for fmt in FORMATS.values())


from mobileyolact.labels.formats import coco  # noqa: E402, F401
