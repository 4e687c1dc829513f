"""Small labels: text on rounded plates that keep out of each other's way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

ImageArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Colour = tuple[int, int, int]

_SMALLEST_TEXT = 8
_SUPERSAMPLING = 4
_DARK, _LIGHT = (16, 20, 28), (255, 255, 255)


@dataclass(frozen=True)
class Chip:
    """A label wanted above ``top`` and centred at ``centre``; ``bottom`` ends its instance."""

    text: str
    colour: Colour
    centre: float
    top: float
    bottom: float


@dataclass(frozen=True)
class _Plate:
    """Alpha of the plate and of the text, (h, w) 0..1."""

    plate: FloatArray
    text: FloatArray


def draw_chips(canvas: ImageArray, chips: Sequence[Chip]) -> None:
    """Draw labels onto (H, W, 3) RGB in place, the most important ones first in ``chips``.

    Text is about 1/36 of the shorter side high, smaller where the picture is too narrow for it.
    Labels that would be unreadable, or would hide a good part of others, are left out.
    """
    size = max(11, round(min(canvas.shape[:2]) / 36))
    taken: list[tuple[int, int, int, int]] = []
    placed = []
    for chip in chips:
        plate = _fitting(chip.text, size, canvas)
        place = _place(chip, plate.plate.shape, canvas, taken) if plate else None
        if plate and place:
            x, y = place
            taken.append((x, y, x + plate.plate.shape[1], y + plate.plate.shape[0]))
            placed.append((chip, plate, x, y))
    for chip, plate, x, y in reversed(placed):
        rows, columns = plate.plate.shape
        region = canvas[y : y + rows, x : x + columns]
        # A channel at a time: numpy is slow on rows of three numbers.
        for channel, (colour, ink) in enumerate(zip(chip.colour, _ink(chip.colour), strict=True)):
            mixed = _mix(region[:, :, channel].astype(np.float32), colour, plate.plate)
            region[:, :, channel] = np.round(_mix(mixed, ink, plate.text))


def _fitting(text: str, size: int, canvas: ImageArray) -> _Plate | None:
    plate = _render(text, size)
    while plate.plate.shape[1] > canvas.shape[1] or plate.plate.shape[0] > canvas.shape[0]:
        size = size * 4 // 5
        if size < _SMALLEST_TEXT:
            return None
        plate = _render(text, size)
    return plate


@lru_cache(maxsize=256)
def _render(text: str, size: int) -> _Plate:
    font = _font(size)
    margin, height = round(0.45 * size), round(1.5 * size)
    width = round(font.getlength(text)) + 2 * margin
    written = Image.new("L", (width, height))
    # Capitals and figures look centred a little above the middle of the line.
    ImageDraw.Draw(written).text((margin, height / 2), text, fill=255, font=font, anchor="lm")
    return _Plate(_rounded(width, height), _alpha(written))


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=256)
def _rounded(width: int, height: int) -> FloatArray:
    large = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    plate = Image.new("L", large)
    ImageDraw.Draw(plate).rounded_rectangle(
        (0, 0, large[0] - 1, large[1] - 1), radius=0.35 * large[1], fill=255
    )
    return _alpha(plate.resize((width, height), Image.Resampling.BOX))


def _alpha(layer: Image.Image) -> FloatArray:
    return np.asarray(layer, dtype=np.float32) / np.float32(255)


def _place(
    chip: Chip,
    shape: tuple[int, ...],
    canvas: ImageArray,
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int] | None:
    """Upper left corner, inside the picture, where other labels are covered least.

    None where even there an eighth of the label would lie on others.
    """
    rows, columns = shape
    gap = rows // 5
    heights = [chip.top - rows - gap, chip.top + gap, (chip.top + chip.bottom - rows) / 2]
    heights += [chip.bottom - rows - gap, chip.bottom + gap]
    best, least = None, rows * columns / 8
    left, top, right, bottom = np.array(taken, dtype=np.intp).reshape(-1, 4).T
    for wanted in heights:
        x = min(max(round(chip.centre - columns / 2), 0), canvas.shape[1] - columns)
        y = min(max(round(wanted), 0), canvas.shape[0] - rows)
        width = np.minimum(right, x + columns) - np.maximum(left, x)
        height = np.minimum(bottom, y + rows) - np.maximum(top, y)
        covered = int((np.maximum(width, 0) * np.maximum(height, 0)).sum())
        if covered < least:
            best, least = (x, y), covered
    return best


def _mix(below: FloatArray, level: int, alpha: FloatArray) -> FloatArray:
    return below + (np.float32(level) - below) * alpha


def _ink(colour: Colour) -> Colour:
    """Dark or light text, whichever has more contrast (WCAG 2 relative luminance)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else _LIGHT
