"""Instances drawn over their picture: tinted masks, smooth outlines, labels."""

from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from mobileyolact.errors import ImageError, OptionError
from mobileyolact.runtime.chips import Chip, Colour, draw_chips
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.masks import Roi

ImageArray = npt.NDArray[np.uint8]
ColourBy = Literal["instance", "class"]

# Neighbours in this list differ most, because neighbours often lie side by side.
PALETTE: tuple[Colour, ...] = (
    (64, 156, 255),
    (255, 107, 87),
    (52, 211, 153),
    (255, 200, 61),
    (167, 119, 255),
    (45, 212, 232),
    (255, 112, 181),
    (163, 224, 54),
    (255, 147, 51),
    (99, 117, 255),
    (20, 184, 148),
    (232, 92, 240),
)
_TINT = 0.45
_SUBPIXEL_BITS = 4
_TOLERANCE = 3  # sixteenths of a pixel
_STRIP_PIXELS = 2**20


def draw(image: ImageArray, instances: Instances, colour_by: ColourBy = "instance") -> ImageArray:
    """Draw instances over a copy of their picture, as ``draw_onto`` does.

    Args:
        image: (H, W, 3) uint8 RGB, the picture of the instances.
        instances: what to draw.
        colour_by: a colour for each instance, or for each class.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the picture has another size than the one the instances were found in.
        OptionError: an unknown ``colour_by``.
    """
    canvas = image.copy()
    draw_onto(canvas, instances, colour_by)
    return canvas


def draw_onto(canvas: ImageArray, instances: Instances, colour_by: ColourBy = "instance") -> None:
    """Draw instances into the picture itself, (H, W, 3) uint8 RGB, C-contiguous.

    Line width and text size follow the size of the picture. Instances without a mask pixel are
    shown by their box. In a crowd, labels that would hide better ones are left out. Takes about
    3 bytes a pixel. Raises what ``draw`` raises.
    """
    if canvas.shape != (instances.height, instances.width, 3):
        raise ImageError(
            f"the instances are of a picture of {instances.width}x{instances.height}, "
            f"but the array to draw on has shape {canvas.shape}; give the same picture"
        )
    if colour_by not in get_args(ColourBy):
        raise OptionError(f"colour_by must be 'instance' or 'class', got {colour_by!r}")
    keys = instances.class_indices if colour_by == "class" else range(len(instances))
    colours = [PALETTE[int(key) % len(PALETTE)] for key in keys]
    areas = instances.areas
    # Small instances stay visible on large ones.
    order = np.argsort(-areas, kind="stable").tolist()
    tinted = np.zeros(canvas.shape[:2], dtype=bool)
    for i in reversed(order):
        _tint(canvas, tinted, instances.roi(i), colours[i])
    del tinted
    width = max(1, round(min(canvas.shape[:2]) / 320))
    chips: dict[int, Chip] = {}
    for i in order:
        roi = instances.roi(i)
        lines = _outlines(roi) if areas[i] else [_rectangle(instances.boxes[i])]
        points = [_simplified(np.round(line * 2**_SUBPIXEL_BITS)) for line in lines]
        cv2.polylines(canvas, points, True, colours[i], width, cv2.LINE_AA, _SUBPIXEL_BITS)
        chips[i] = _chip(instances, i, roi, colours[i])
    draw_chips(canvas, [chips[i] for i in range(len(instances))])


def _tint(canvas: ImageArray, tinted: npt.NDArray[np.bool_], roi: Roi, colour: Colour) -> None:
    """Tint what no smaller mask has ``tinted``, as colours on colours would turn to mud."""
    rows, columns = roi.bitmap.shape
    # Some rows at a time: the mask may fill a picture of 100 megapixels.
    step = max(1, min(rows, _STRIP_PIXELS // max(1, columns)))
    paint = np.empty((step, columns * 3), dtype=np.uint8)
    paint[:] = np.tile(np.array(colour, dtype=np.uint8), columns)
    paint = paint.reshape(step, columns, 3)
    for y in range(0, rows if columns else 0, step):
        bitmap = roi.bitmap[y : y + step]
        part = slice(roi.y + y, roi.y + y + len(bitmap)), slice(roi.x, roi.x + columns)
        free = np.greater(bitmap, tinted[part])
        mixed = cv2.addWeighted(canvas[part], 1 - _TINT, paint[: len(bitmap)], _TINT, 0)
        cv2.copyTo(mixed, free.view(np.uint8), canvas[part])
        tinted[part] |= bitmap


def _outlines(roi: Roi) -> list[npt.NDArray[np.float64]]:
    """Closed lines (P, 2) through the centres of the mask's border pixels, holes included."""
    bitmap = roi.bitmap.view(np.uint8)
    contours, _ = cv2.findContours(bitmap, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corner = np.array([roi.x, roi.y])
    return [corner + _smooth(contour.reshape(-1, 2).astype(np.float64)) for contour in contours]


def _smooth(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Even out the steps of pixels: the mean of five neighbours, at every third point."""
    if len(line) < 12:
        return line
    around = np.concatenate([line[-2:], line, line[:2]])
    count = len(line)
    return np.asarray(sum(around[i : i + count : 3] for i in range(5)) / 5)


def _simplified(line: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Without the points that nobody would miss: a wide line takes a disc for each."""
    return np.asarray(cv2.approxPolyDP(line.astype(np.int32), _TOLERANCE, True), dtype=np.int32)


def _rectangle(box: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    x1, y1, x2, y2 = box.astype(np.float64) - 0.5
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _chip(instances: Instances, i: int, roi: Roi, colour: Colour) -> Chip:
    """A label for instance ``i``: it likes to sit on top of the mask's highest part."""
    x1, y1, x2, y2 = instances.boxes[i].tolist()
    filled = np.flatnonzero(roi.bitmap.any(axis=1))
    centre, top, bottom = (x1 + x2) / 2, y1, y2
    if len(filled):
        top, bottom = roi.y + float(filled[0]), roi.y + float(filled[-1]) + 1
        # A few rows, because the very first one may be a stray pixel.
        crest = roi.bitmap[filled[0] : filled[0] + max(1, len(filled) // 12)]
        centre = roi.x + float(np.median(np.nonzero(crest)[1])) + 0.5
    text = f"{instances.class_names[i]} {round(100 * float(instances.scores[i]))}%"
    return Chip(text, colour, centre, top, bottom)
