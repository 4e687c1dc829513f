"""One entry of ``annotations`` in COCO JSON: its box and its mask, checked."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from mobileyolact import rle
from mobileyolact.errors import LabelError
from mobileyolact.labels.dataset import Label
from mobileyolact.labels.rasterise import Polygons

Box = tuple[float, float, float, float]

_FARTHEST = 1e6  # pixels: a coordinate beyond is a mistake, and rasterising it would overflow


class Unusable(Exception):
    """Part of a labels file that cannot be used: why, and what the user can do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def read_label(
    annotation: dict[str, Any], class_index: int, width: int, height: int
) -> tuple[Label, list[Unusable]]:
    """The label of an annotation in a picture of this size, and flaws that it survived.

    Where box or mask is unusable, the other one is kept, since an object without any label would
    be taught as background: a bad box is replaced by the mask's, a bad mask left out.

    Raises:
        Unusable: neither box nor mask can be used, or ``iscrowd`` is neither 0 nor 1.
    """
    crowd = annotation.get("iscrowd")
    if crowd not in (0, 1, None):
        raise Unusable(f"iscrowd is {_short(crowd)}", "write 1 for a crowd, 0 for one object")
    flaws: list[Unusable] = []
    box = segmentation = None
    try:
        segmentation, flaw = _read_segmentation(annotation.get("segmentation"), width, height)
        flaws += [flaw] if flaw else []
    except Unusable as error:
        flaws.append(Unusable(f"{error.reason}, so only its box is used", error.fix))
    try:
        box = _read_box(annotation.get("bbox"), width, height)
    except Unusable as error:
        flaws.append(Unusable(f"{error.reason}, so the mask's box is used", error.fix))
    if box is None:
        if segmentation is None:
            reason = flaws[0].reason.partition(", so")[0] if flaws else "it has no bbox and no mask"
            raise Unusable(reason, flaws[0].fix if flaws else "draw the object again")
        box = _box_of(segmentation)
    key = annotation.get("id")
    label = Label(
        class_index,
        box,
        segmentation,
        crowd=bool(crowd),
        id=key if isinstance(key, int | str) else 0,
        area=_read_area(annotation.get("area")),
    )
    return label, flaws


def whole_number(value: Any) -> int | None:
    """An integer, also one written as 3.0, else ``None``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_segmentation(
    values: Any, width: int, height: int
) -> tuple[Polygons | rle.Rle | None, Unusable | None]:
    """Polygons or an RLE, ``None`` where there is none, and the flaw of a left out polygon.

    Raises:
        Unusable: there is a segmentation, but nothing in it can be used.
    """
    if values is None or values == []:
        return None, None
    if isinstance(values, dict):
        return _read_rle(values, width, height), None
    if not isinstance(values, list):
        raise Unusable("segmentation is neither polygons nor an RLE", "draw the object again")
    polygons, wrong = _read_polygons(values, width, height)
    if wrong and not polygons:
        raise wrong
    flaw = wrong and Unusable(f"{wrong.reason}, so that part is left out", wrong.fix)
    return polygons or None, flaw


def _read_box(values: Any, width: int, height: int) -> Box | None:
    """``bbox`` x, y, width, height as x1, y1, x2, y2; ``None`` where there is none.

    Raises:
        Unusable: not four finite numbers, without extent, or outside of the picture.
    """
    if values is None or values == []:
        return None
    numbers = _numbers(values)
    if numbers is None or len(numbers) != 4:
        raise Unusable(f"bbox {_short(values)} is not four finite numbers", "write x, y, w, h")
    x, y, w, h = numbers
    if w <= 0 or h <= 0:
        raise Unusable(f"bbox {_short(values)} has no extent", "draw the object again")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise Unusable(
            f"bbox {_short(values)} lies outside of the picture of {width}x{height}",
            "check that the labels belong to this size of the picture",
        )
    return (x, y, x + w, y + h)


def _read_polygons(parts: list[Any], width: int, height: int) -> tuple[Polygons, Unusable | None]:
    """The usable polygons of a segmentation, and what is wrong with the first of the others.

    Empty parts are passed over; a flat list of numbers is taken as a single polygon.
    """
    if parts and not isinstance(parts[0], list):
        parts = [parts]
    polygons = []
    wrong: Unusable | None = None
    for part in parts:
        try:
            if part != []:
                polygons.append(_read_polygon(part, width, height))
        except Unusable as error:
            wrong = wrong or error
    return tuple(polygons), wrong


def _read_rle(values: dict[str, Any], width: int, height: int) -> rle.Rle:
    """A compressed or uncompressed RLE as compressed one.

    Raises:
        Unusable: damaged, of another size than the picture, or an empty mask.
    """
    size, counts = values.get("size"), values.get("counts")
    if size != [height, width]:
        raise Unusable(
            f"the RLE has size {_short(size)}, but its picture is {height} high, {width} wide",
            "check 'size' ([height, width]) and the picture's width and height",
        )
    try:
        if rle.area(values) == 0:
            raise Unusable("the mask is empty", "remove the annotation or draw it again")
        # Few tools write plain counts, so decoding only to compress is good enough.
        compressed = counts if isinstance(counts, str) else rle.encode(rle.decode(values))["counts"]
    except LabelError as error:
        reason, _, fix = str(error).partition("; ")
        raise Unusable(reason, fix or "write the mask again") from None
    return {"size": [height, width], "counts": compressed}


def _box_of(segmentation: Polygons | rle.Rle) -> Box:
    """The tightest box around a segmentation that has any area."""
    if isinstance(segmentation, tuple):
        xs = [x for polygon in segmentation for x in polygon[::2]]
        ys = [y for polygon in segmentation for y in polygon[1::2]]
        return (min(xs), min(ys), max(xs), max(ys))
    mask = rle.decode(segmentation)
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _read_area(value: Any) -> float | None:
    """A finite number that is not negative, else ``None``."""
    numbers = _numbers([value])
    return numbers[0] if numbers and numbers[0] >= 0 else None


def _read_polygon(part: Any, width: int, height: int) -> Sequence[float]:
    numbers = _numbers(part)
    if numbers is None:
        raise Unusable("a polygon is not a list of finite numbers", "write x, y, x, y, ...")
    if len(numbers) < 6 or len(numbers) % 2:
        raise Unusable(
            f"a polygon has {len(numbers)} coordinates, not an even number of at least 6",
            "draw at least three corners",
        )
    xs, ys = numbers[::2], numbers[1::2]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    if left == right or top == bottom:
        raise Unusable("a polygon has no area", "remove it or draw it again")
    if min(left, top) < -_FARTHEST or max(right, bottom) > _FARTHEST:
        raise Unusable("a polygon reaches a million pixels away", "draw the object again")
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise Unusable(
            f"a polygon lies outside of the picture of {width}x{height}",
            "check that the labels belong to this size of the picture",
        )
    return numbers


def _numbers(values: Any) -> Sequence[float] | None:
    """A list of finite numbers, or ``None`` if it is something else.

    An array takes a quarter of a tuple's memory: every worker holds all polygons of COCO.
    """
    if not isinstance(values, list):
        return None
    try:
        # One pass in C: a sum is finite only if every number is.
        return array("d", values) if math.isfinite(math.fsum(values)) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
