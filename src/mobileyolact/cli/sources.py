"""From the words on the command line to pictures, and from pictures to names of results."""

from collections.abc import Iterable
from pathlib import Path

from mobileyolact.errors import OptionError

# What a folder is searched for; a file named on its own may have any suffix.
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
)

WRITABLE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def find_pictures(sources: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Expand files, folders (not their subfolders) and globs (``**`` too) into pictures.

    Returns:
        The pictures in the order given, folders and globs sorted by name, each picture once;
        and one sentence for every source in which nothing was found.
    """
    pictures: dict[Path, Path] = {}
    problems = []
    for source in sources:
        found, problem = _expand(source)
        for picture in found:
            pictures.setdefault(picture.resolve(), picture)
        if not found:
            problems.append(problem)
    return list(pictures.values()), problems


def _expand(source: str) -> tuple[list[Path], str]:
    path = Path(source)
    if path.is_dir():
        return _pictures_only(path.iterdir()), f"the folder '{source}' holds no picture"
    if path.exists():
        return [path], ""
    if any(mark in source for mark in "*?["):
        # pathlib wants a relative pattern: an absolute one is searched from its root.
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        return _pictures_only(matches), f"no picture matches '{source}'"
    return [], f"there is no file or folder '{source}'; check the path"


def _pictures_only(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())


def name_results(pictures: list[Path], output: Path) -> list[Path]:
    """Choose where the result of each picture goes.

    ``output`` is a folder, or the file to write when it ends like a picture. In a folder JPEG
    stays JPEG and everything else becomes PNG. No two results share a name, also on file systems
    that ignore case, and none is the name of an input.

    Raises:
        OptionError: a file was named for several pictures, it is one of the inputs, or it has a
            suffix that is not written.
    """
    inputs = {_key(picture) for picture in pictures}
    if output.suffix.lower() in PICTURE_SUFFIXES and not output.is_dir():
        return [_name_one(pictures, output, inputs)]
    taken = set(inputs)
    results = []
    for picture in pictures:
        suffix = ".jpg" if picture.suffix.lower() in (".jpg", ".jpeg") else ".png"
        result, number = output / f"{picture.stem}{suffix}", 1
        while _key(result) in taken:
            number += 1
            result = output / f"{picture.stem}-{number}{suffix}"
        taken.add(_key(result))
        results.append(result)
    return results


def _name_one(pictures: list[Path], output: Path, inputs: set[str]) -> Path:
    if len(pictures) != 1:
        raise OptionError(
            f"--output names one file, '{output}', for {len(pictures)} pictures; name a folder"
        )
    if output.suffix.lower() not in WRITABLE_SUFFIXES:
        raise OptionError(
            f"--output '{output}' cannot be written; it must end in {', '.join(WRITABLE_SUFFIXES)}"
        )
    if _key(output) in inputs:
        raise OptionError(
            f"--output '{output}' would overwrite the picture itself; choose another name"
        )
    return output


def _key(path: Path) -> str:
    return str(path.resolve()).casefold()
