"""A small table in plain text, for which rich need not be loaded."""

import unicodedata
from collections.abc import Iterator, Sequence

_GAP = "  "


def columns(rows: Sequence[Sequence[str]], width: int) -> str:
    """Lay out rows, of which the first holds headings, as lines of at most ``width`` columns.

    The first two columns are aligned to the left and folded where there is no room for them, the
    others are numbers. Headings may have line breaks. Wide characters count twice.
    """
    widths = [max(_columns_of(c) for row in rows for c in row[i].split("\n")) for i in range(2)]
    numbers = [
        max(_columns_of(line) for row in rows for line in row[i].split("\n"))
        for i in range(2, len(rows[0]))
    ]
    room = max(16, width - sum(numbers) - len(_GAP) * (len(rows[0]) - 1))
    if sum(widths) > room:
        first = min(widths[0], max(room // 2, room - widths[1]))
        widths = [first, room - first]
    lines = []
    for number, row in enumerate(rows):
        cells = [list(_fold(cell, size)) for cell, size in zip(row[:2], widths, strict=True)]
        cells += [cell.split("\n") for cell in row[2:]]
        height = max(map(len, cells))
        for cell in cells:
            empty = [""] * (height - len(cell))
            cell[:] = empty + cell if number == 0 else cell + empty
        for parts in zip(*cells, strict=True):
            padded = [_pad(part, size) for part, size in zip(parts, widths, strict=False)]
            padded += [part.rjust(size) for part, size in zip(parts[2:], numbers, strict=True)]
            lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def _fold(text: str, width: int) -> Iterator[str]:
    """Pieces of ``text`` that are at most ``width`` columns wide, at least one."""
    piece = ""
    for character in text:
        if _columns_of(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _columns_of(text))


def _columns_of(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
