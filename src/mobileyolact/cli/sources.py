"""From the words on the command line to pictures, videos and cameras."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mobileyolact.errors import OptionError

# What a folder is searched for; a file named on its own may have any suffix.
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
)
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
) | {".wmv", ".flv", ".3gp", ".ogv"}
_CAMERA = "camera:"


@dataclass(frozen=True)
class Source:
    """A picture or a video on the disk; or a camera, whose ``path`` only names its result."""

    path: Path
    camera: int | None = None

    @property
    def is_video(self) -> bool:
        return self.camera is not None or self.path.suffix.lower() in VIDEO_SUFFIXES

    def __str__(self) -> str:
        return str(self.path) if self.camera is None else f"camera:{self.camera}"


def find_sources(
    words: Iterable[str], results: Path | None = None
) -> tuple[list[Source], list[str]]:
    """Expand files, folders, globs (``**`` too) and ``camera:N`` into what to predict on.

    A folder stands for the pictures in it, not in its subfolders; a glob for pictures and videos.

    Args:
        words: as given.
        results: the folder of results: what ``predict`` itself drew is not found again there.

    Returns:
        The sources in the order given, folders and globs sorted by name, each file once; and one
        sentence for every word in which nothing was found, and for everything in a folder that
        should be a picture but leads nowhere.
    """
    sources: dict[str, Source] = {}
    problems: list[str] = []
    home = None if results is None else os.path.realpath(results)
    for word in words:
        try:
            for source in _expand(word, home, problems):
                key = str(source) if source.camera is not None else os.path.realpath(source.path)
                sources.setdefault(key, source)
        except (OSError, ValueError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            problems.append(f"cannot read '{word}': {reason}")
    return list(sources.values()), problems


def find_pictures(folder: Path, option: str = "--images") -> list[Path]:
    """The pictures in the folder that ``option`` names, sorted by name.

    Raises:
        OptionError: there is no such folder, or no picture is in it.
    """
    sources, problems = find_sources([str(folder)])
    if not sources:
        raise OptionError(f"{option}: {'; '.join(problems)}")
    return [source.path for source in sources]


def _expand(word: str, home: str | None, problems: list[str]) -> Iterator[Source]:
    path = Path(word)
    if path.is_dir():
        names = [p for p in path.iterdir() if not p.is_dir()]
        pictures = [p for p in names if p.suffix.lower() in PICTURE_SUFFIXES]
        found = _worth_reading(pictures, home, problems)
        if not pictures:
            problems.append(f"the folder '{word}' holds no picture{_videos_in(path, names)}")
        elif not found:
            problems.append(f"the folder '{word}' holds no picture that can be taken")
    elif os.path.lexists(path):
        found = [path]  # what is wrong with it is said when it is read
    elif (number := word.removeprefix(_CAMERA)) != word and _is_camera(number):
        yield Source(Path(f"camera-{int(number)}"), int(number))
        return
    elif any(mark in word for mark in "*?["):
        # pathlib wants a relative pattern: an absolute one is searched from its root.
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
        files = [p for p in matches if p.suffix.lower() in known and not p.is_dir()]
        found = _worth_reading(files, home, problems)
        if not found:
            problems.append(f"no picture or video matches '{word}'")
    else:
        problems.append(f"there is no file or folder '{word}'; check the path")
        return
    yield from map(Source, found)


def _is_camera(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) <= 4


def _worth_reading(paths: list[Path], home: str | None, problems: list[str]) -> list[Path]:
    """Without links that lead nowhere, which are problems, pipes, and results of earlier runs."""
    found = []
    for path in sorted(paths):
        if path.is_symlink() and not path.exists():
            problems.append(f"the link {path} leads nowhere; check what it points to")
        elif path.is_file() and not (os.path.realpath(path.parent) == home and _is_result(path)):
            found.append(path)
    return found


def _is_result(path: Path) -> bool:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        from mobileyolact.runtime.video_writer import is_drawn

        return is_drawn(path)
    from mobileyolact.cli.pictures import is_drawn_picture

    return is_drawn_picture(path)


def _videos_in(folder: Path, names: list[Path]) -> str:
    videos = [p for p in names if p.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        return ""
    example = folder / f"*{videos[0].suffix}"
    return f", but videos, of which there are {len(videos)}; name them, for example '{example}'"
