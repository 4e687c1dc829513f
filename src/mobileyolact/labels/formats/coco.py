"""COCO JSON: polygons, both RLEs, crowds, any ids, and partial labels.

An image's ``labeled_category_ids`` says which categories are completely labelled in it; without
it, all are.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobileyolact import rle
from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError
from mobileyolact.labels.dataset import Dataset, Label, Record
from mobileyolact.labels.formats import register_format
from mobileyolact.labels.formats.coco_annotation import Unusable, read_label, whole_number
from mobileyolact.labels.pictures import PictureFinder, picture_size

KEYS = ("images", "annotations", "categories")


@register_format("coco")
class CocoReader:
    """Reads instance annotations as COCO 2017 has them, more forgiving than pycocotools."""

    @staticmethod
    def probe(path: Path) -> float:
        """By the names of COCO's three lists, anywhere in the file."""
        if not path.is_file() or path.suffix.lower() != ".json":
            return 0.0
        content = path.read_bytes()
        return 0.1 + 0.3 * sum(f'"{key}"'.encode() in content for key in KEYS)

    @staticmethod
    def read(path: Path, images: Path | None) -> Dataset:
        """Read the file; what is wrong with single entries is in the dataset's ``problems``."""
        return _Reading(path, PictureFinder(path, images)).read(_load(path))


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path} is not JSON ({error}); export the labels again") from None
    for key in KEYS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise LabelError(
                f"{path} has no list '{key}', which COCO JSON must have; "
                "give an instance annotations file"
            )
    return {key: content[key] for key in KEYS}


class _Reading:
    """One file being read: classes, pictures and labels so far, and what was wrong."""

    def __init__(self, path: Path, finder: PictureFinder) -> None:
        self.path = path
        self.finder = finder
        self.problems: list[str] = []
        self.classes: list[ClassInfo] = []
        self.class_of: dict[int, int] = {}
        self.records: dict[int | str, Record] = {}
        self.labels: dict[int | str, list[Label]] = {}
        self.image_ids: set[int | str] = set()

    def read(self, content: dict[str, list[Any]]) -> Dataset:
        for where, category in self._entries(content["categories"], "category"):
            self._add_class(where, category)
        for where, image in self._entries(content["images"], "image"):
            self._add_picture(where, image)
        if not self.records:
            raise LabelError(self._no_pictures())
        before = len(self.problems)
        for where, annotation in self._entries(content["annotations"], "annotation"):
            self._add_label(where, annotation)
        if len(self.problems) > before and not any(self.labels.values()):
            raise LabelError(
                f"none of the {len(content['annotations'])} annotations is usable, "
                f"for example {self.problems[before]}"
            )
        records = [
            Record(r.id, r.path, r.width, r.height, tuple(self.labels[key]), r.exhaustive)
            for key, r in self.records.items()
        ]
        return Dataset(tuple(self.classes), tuple(records), self.path, tuple(self.problems))

    def _entries(self, entries: list[Any], noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for number, entry in enumerate(entries, 1):
            if isinstance(entry, dict):
                yield f"{noun} {entry['id']}" if "id" in entry else f"{noun} no. {number}", entry
            else:
                self._report(f"{noun} no. {number}", "it is not an object", "export it again")

    def _report(self, where: str, reason: str, fix: str) -> None:
        self.problems.append(f"{self.path}: {where}: {reason}; {fix}")

    def _add_class(self, where: str, category: dict[str, Any]) -> None:
        key, name = whole_number(category.get("id")), category.get("name")
        if key is None or not isinstance(name, str):
            self._report(where, "a category needs an integer 'id' and a 'name'", "add them")
        elif key in self.class_of:
            self._report(where, f"'{name}' has an id that is already taken", "give it its own id")
        else:
            known = [info.name for info in self.classes]
            if name not in known:
                self.classes.append(ClassInfo(len(self.classes), name, key))
                known.append(name)
            self.class_of[key] = known.index(name)

    def _add_picture(self, where: str, image: dict[str, Any]) -> None:
        key, name = image.get("id"), image.get("file_name")
        if not isinstance(key, int | str) or not isinstance(name, str) or not name:
            self._report(where, "an image needs an 'id' and a 'file_name'", "add them")
            return
        if key in self.image_ids:
            self._report(where, f"'{name}' has an id that is already taken", "give it its own id")
            return
        self.image_ids.add(key)
        path = self.finder.find(name)
        if path is None:
            self._report(where, f"the picture '{name}' is missing", self._where_to_put())
            return
        width, height = whole_number(image.get("width")), whole_number(image.get("height"))
        if not width or not height:
            size = picture_size(path)
            if size is None:
                self._report(where, f"'{name}' is not a readable picture", "replace it")
                return
            width, height = size
        if not (0 < width * height <= rle.MAX_PIXELS and width > 0):
            self._report(where, f"{width}x{height} is no size of a picture", "correct it")
            return
        exhaustive = self._exhaustive(where, image.get("labeled_category_ids"))
        self.records[key] = Record(key, path, width, height, (), exhaustive)
        self.labels[key] = []

    def _exhaustive(self, where: str, keys: Any) -> frozenset[int] | None:
        if keys is None:
            return None
        ids = [whole_number(key) for key in keys] if isinstance(keys, list) else [None]
        found = frozenset(self.class_of[key] for key in ids if key in self.class_of)
        if any(key not in self.class_of for key in ids):
            self._report(
                where,
                "'labeled_category_ids' is not a list of ids from 'categories', so what is no "
                "such id counts as not completely labelled",
                "correct the list",
            )
        return found

    def _add_label(self, where: str, annotation: dict[str, Any]) -> None:
        image, category = annotation.get("image_id"), whole_number(annotation.get("category_id"))
        if not isinstance(image, int | str) or image not in self.image_ids:
            self._report(where, f"image_id {image} is not in 'images'", "add the image")
        elif category not in self.class_of:
            stated = annotation.get("category_id")
            self._report(where, f"category_id {stated} is not in 'categories'", "add the category")
        elif image in self.records:  # else the picture has been reported
            record = self.records[image]
            try:
                label, flaws = read_label(
                    annotation, self.class_of[category], record.width, record.height
                )
            except Unusable as error:
                self._report(where, error.reason, error.fix)
                return
            self.labels[image].append(label)
            for flaw in flaws:
                self._report(where, flaw.reason, flaw.fix)

    def _no_pictures(self) -> str:
        about = [p for p in self.problems if p.startswith(f"{self.path}: image")]
        if not about:
            return f"the list 'images' in {self.path} is empty; export the labels again"
        return f"no picture can be used, for example {about[0]}"

    def _where_to_put(self) -> str:
        folders = ", ".join(str(folder) for folder in self.finder.folders)
        return f"put it into one of {folders}, or name its folder (--images DIR)"
