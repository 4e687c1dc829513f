"""Files that are either complete or not there."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mobileyolact.errors import MobileYolactError, OptionError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def write_beside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``, and rename it over ``path`` at the end.

    The body writes the temporary file. When the body ends
    well, the file is flushed to the disk and renamed, so that ``path`` is at every moment the
    old file or the whole new one. When the body raises, the temporary file is removed and
    ``path`` stays as it was. Missing folders are made; a symbolic link is followed.

    Raises:
        OptionError: ``path`` is something else than a regular file.
        MobileYolactError: the place cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OptionError(f"{path} exists and is not a regular file; choose another output name")
    # The name is cut because file systems allow 255 bytes, of which the target may use all.
    temporary = target.with_name(f".{target.name[:40]}.{os.urandom(4).hex()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failure(path, error) from error
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    except OSError as error:
        # Other errors of the body are not about this file.
        if error.filename == str(temporary) or error.errno in _DISK:
            raise _failure(path, error) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _failure(path: str | Path, error: OSError) -> MobileYolactError:
    return MobileYolactError(
        f"cannot write {path}: {error.strerror}; free the place or choose another output"
    )


def _flush(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, onto the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no handle for a folder
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
