"""Run lengths of masks as COCO stores them, in numpy, bit for bit like pycocotools.

A mask is read column by column. ``counts`` holds the lengths of its runs, first of zeros
(possibly 0), then of ones, and so on. The compressed form writes each length, from the fourth
on as the difference to the length two before, in groups of 5 bits from the lowest up: bit 5
says that another group follows, bit 4 of the last group is the sign, 48 is added to get a
printable character (cocoapi, ``common/maskApi.c``).
"""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from mobileyolact.errors import LabelError

MAX_PIXELS = 100_000_000
_MAX_GROUPS = 7  # 35 bits: more than any length that MAX_PIXELS allows

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class Rle(TypedDict):
    """A mask of ``size`` [height, width] with compressed ``counts``."""

    size: list[int]
    counts: str


def encode(mask: npt.ArrayLike) -> Rle:
    """Encode a mask (h, w), everything that is not zero being foreground."""
    bitmap = np.asarray(mask, dtype=bool)
    if bitmap.ndim != 2:
        raise LabelError(f"a mask must have two dimensions, got shape {bitmap.shape}")
    return encode_roi(bitmap, 0, 0, *bitmap.shape)


def encode_roi(bitmap: BoolArray, x: int, y: int, height: int, width: int) -> Rle:
    """Encode a picture of (height, width) that is empty but for ``bitmap`` at column x, row y.

    The whole picture is never built. ``bitmap`` must lie inside the picture.
    """
    rows, columns = bitmap.shape
    if not (0 <= x <= width - columns and 0 <= y <= height - rows):
        raise LabelError(
            f"a bitmap of {columns}x{rows} at ({x}, {y}) does not fit a picture of {width}x{height}"
        )
    edges = np.empty((rows + 1, columns), dtype=bool)
    if rows:
        edges[0], edges[rows] = bitmap[0], bitmap[-1]
        np.not_equal(bitmap[1:], bitmap[:-1], out=edges[1:rows])
    else:
        edges[:] = False
    row, column = np.divmod(np.flatnonzero(edges), max(columns, 1))
    changes = np.sort((column + x) * height + row + y)
    # A run that ends at the bottom of a column and goes on at the top of the next one has both
    # edges at the same place: there is no change.
    twice = changes[1:] == changes[:-1]
    changes = changes[~(np.append(twice, False) | np.append(False, twice)[: len(changes)])]
    total = height * width
    counts = np.diff(changes, prepend=0, append=total)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [height, width], "counts": _compress(counts)}


def decode(rle: Mapping[str, Any], max_pixels: int = MAX_PIXELS) -> BoolArray:
    """The mask (h, w), C-contiguous, of an RLE with compressed (str, bytes) or listed counts.

    Raises:
        LabelError: malformed size or counts, counts that do not sum to h * w, or more than
            ``max_pixels``; found before anything of the mask's size is allocated.
    """
    height, width, counts = _read(rle, max_pixels)
    ones = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(ones, counts).reshape(width, height).T)


def area(rle: Mapping[str, Any], max_pixels: int = MAX_PIXELS) -> int:
    """The number of foreground pixels; the same errors as ``decode``."""
    return int(_read(rle, max_pixels)[2][1::2].sum())


def _read(rle: Mapping[str, Any], max_pixels: int) -> tuple[int, int, IntArray]:
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LabelError(
            "an RLE must have 'size' [height, width] and 'counts'; write the label again"
        ) from None
    if height < 0 or width < 0 or height * width > max_pixels:
        raise LabelError(
            f"an RLE of size {height}x{width} is not between 0 and {max_pixels} pixels; "
            "check 'size'"
        )
    lengths = _expand(counts) if isinstance(counts, str | bytes) else _listed(counts)
    # Each length is bounded first, so that the sum of wild lengths cannot wrap around.
    bounded = len(lengths) == 0 or (lengths.min() >= 0 and lengths.max() <= height * width)
    if not bounded or int(lengths.sum()) != height * width:
        raise LabelError(
            f"the counts of an RLE of size {height}x{width} do not sum to {height * width}; "
            "check that 'size' is [height, width] of the picture"
        )
    return height, width, lengths


def _listed(counts: Any) -> IntArray:
    try:
        lengths = np.asarray(counts)
    except (TypeError, ValueError, OverflowError):
        lengths = np.empty(0, dtype=object)
    if isinstance(counts, list | tuple) and len(counts) == 0:
        return np.empty(0, dtype=np.int64)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise LabelError("the counts of an RLE must be a string or a list of whole numbers")
    return lengths.astype(np.int64)


def _compress(counts: IntArray) -> str:
    values = counts.copy()
    values[3:] -= counts[1:-2]
    groups: list[npt.NDArray[np.uint8]] = []
    used: list[BoolArray] = []
    more = np.ones(len(values), dtype=bool)
    while more.any():
        low = values & 0x1F
        values = values >> 5
        used.append(more)
        more = more & (values != np.where(low & 0x10, -1, 0))
        groups.append((low + (more * 0x20) + 48).astype(np.uint8))
    return np.stack(groups, axis=1)[np.stack(used, axis=1)].tobytes().decode("ascii")


def _expand(counts: str | bytes) -> IntArray:
    # JSON can hold lone surrogates; like all that is not ASCII they are out of range below.
    text = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    codes = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    last = (codes & 0x20) == 0
    if codes.min() < 0 or codes.max() > 0x3F or not last[-1]:
        raise LabelError("the counts of an RLE are damaged: not COCO's compressed form")
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)
    sizes = ends - starts + 1
    if sizes.max() > _MAX_GROUPS:
        raise LabelError("the counts of an RLE are damaged: a length has too many digits")
    place = np.arange(len(codes)) - np.repeat(starts, sizes)
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    negative = (codes[ends] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * sizes[negative])
    # Undo the differences: lengths 1, 3, 5... and 2, 4, 6... are two running sums.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
