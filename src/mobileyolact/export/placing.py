"""Files of models are made and checked in a folder beside, and moved when all of them are right."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mobileyolact import __version__
from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError


def name_of(checkpoint: Path, own: ModelContract, contract: ModelContract) -> str:
    """What files made from ``checkpoint`` are called: as it is, and its size where that is new.

    Args:
        checkpoint: the file.
        own: its contract.
        contract: that of the files to write.
    """
    if contract.input_size == own.input_size:
        return checkpoint.stem
    height, width = contract.input_size
    return (
        f"{checkpoint.stem}-{height}" if height == width else f"{checkpoint.stem}-{width}x{height}"
    )


@contextmanager
def workshop(out_dir: Path) -> Iterator[Path]:
    """A folder inside ``out_dir`` that is removed at the end with whatever is still in it.

    ``out_dir`` is made if it is missing; after an error it is gone again if it is empty.

    Raises:
        OptionError: it cannot be made or written.
    """
    made = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".export-", dir=out_dir)
    except OSError as error:
        raise OptionError(
            f"cannot write to the folder '{out_dir}' ({error.strerror}); choose another with -o"
        ) from None
    try:
        with temporary:
            yield Path(temporary.name)
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def write_note(path: Path, checkpoint: Path, files: Sequence[Path], facts: dict[str, Any]) -> None:
    """Write as JSON what was measured on the ``files`` of one model made from ``checkpoint``."""
    content = {
        "checkpoint": checkpoint.name,
        "mobileyolact": __version__,
        "bytes": {file.name: file.stat().st_size for file in files},
        **facts,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def deliver(models: Sequence[Sequence[Path]], out_dir: Path) -> list[tuple[Path, ...]]:
    """Move the files of each model into ``out_dir`` and return where they are.

    Of each model the file to open, its first, comes last: one that can be opened is complete.

    Raises:
        OptionError: a folder has the name of one of them; nothing is moved.
    """
    for file in (file for files in models for file in files):
        if (out_dir / file.name).is_dir():
            raise OptionError(
                f"cannot write '{out_dir / file.name}', which is a folder; choose another with -o"
            )
    for files in models:
        for file in reversed(files):
            file.replace(out_dir / file.name)
    return [tuple(out_dir / file.name for file in files) for files in models]
