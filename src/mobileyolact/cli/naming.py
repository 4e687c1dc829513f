"""Names of results: no two alike, none that of a source, none longer than a file system allows."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from mobileyolact.cli.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Source
from mobileyolact.errors import OptionError

WRITABLE_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
WRITABLE_VIDEOS = (".mp4", ".mov", ".mkv")
_LONGEST = 255  # bytes of a name on common file systems


def is_one_file(output: Path) -> bool:
    """Does ``--output`` name a file rather than a folder?"""
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
    return output.suffix.lower() in known and not output.is_dir()


def folder_of(output: Path) -> Path:
    """The folder that results will be in."""
    return output.parent if is_one_file(output) else output


def name_results(sources: Sequence[Source], output: Path) -> list[Path]:
    """Choose where the result of each source goes.

    ``output`` is a folder, or the file to write when it ends like a picture or a video. In a
    folder JPEG stays JPEG, every other picture becomes PNG, and videos become MP4. No two results
    share a name, also on file systems that ignore case or accents' spelling, and none is the name
    of a source or of something that is not a file.

    Raises:
        OptionError: a file was named for several sources, it is one of them, or it has a suffix
            that is not written for this kind of source.
    """
    inputs = {_key(source.path) for source in sources if source.camera is None}
    if is_one_file(output):
        return [_name_one(sources, output, inputs)]
    taken = set(inputs)
    last: dict[str, int] = {}
    results = []
    for source in sources:
        suffix = ".mp4" if source.is_video else ".png"
        if source.path.suffix.lower() in (".jpg", ".jpeg"):
            suffix = ".jpg"
        stem = source.path.stem
        plain = _key(output / _fitting(stem, suffix))
        number = last.get(plain, 1)
        result = output / _fitting(stem, f"-{number}{suffix}" if number > 1 else suffix)
        while _key(result) in taken or (result.exists() and not result.is_file()):
            number += 1
            result = output / _fitting(stem, f"-{number}{suffix}")
        last[plain] = number
        taken.add(_key(result))
        results.append(result)
    return results


def check_json(path: Path, sources: Sequence[Source], results: Sequence[Path]) -> None:
    """Check that ``--json`` names a file of its own.

    Raises:
        OptionError: it is a source or a result.
    """
    used = [source.path for source in sources if source.camera is None] + list(results)
    if _key(path) in {_key(other) for other in used}:
        raise OptionError(f"--json '{path}' is the name of a source or a result; choose another")


def _name_one(sources: Sequence[Source], output: Path, inputs: set[str]) -> Path:
    if len(sources) != 1:
        raise OptionError(
            f"--output names one file, '{output}', for {len(sources)} sources; name a folder"
        )
    kind = "a video" if sources[0].is_video else "a picture"
    suffixes = WRITABLE_VIDEOS if sources[0].is_video else WRITABLE_PICTURES
    if output.suffix.lower() not in suffixes:
        raise OptionError(
            f"--output '{output}' cannot be written for {kind}; it must end in "
            f"{', '.join(suffixes)}"
        )
    if _key(output) in inputs:
        raise OptionError(
            f"--output '{output}' would overwrite the source itself; choose another name"
        )
    return output


def _fitting(stem: str, ending: str) -> str:
    """``stem`` and ``ending``, with the stem cut so that the name is not too long."""
    room = _LONGEST - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()
