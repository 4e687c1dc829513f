"""What ``predict --json`` writes: one document for pictures, lines where a video is among them."""

import json
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Any

from mobileyolact.files import write_beside


class Records:
    """Takes a record for each picture or frame; here they are not wanted."""

    wanted = False

    def add(self, record: dict[str, Any]) -> None:
        """Take what was found in a picture or a frame."""

    def add_error(self, source: str, text: str) -> None:
        """Take what was wrong with a source."""

    def finish(self) -> None:
        """Write what has not been written, and give the file its name."""

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Document(Records):
    """All records in one JSON object, written at the end."""

    wanted = True

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._images: list[dict[str, Any]] = []
        self._errors: list[dict[str, Any]] = []

    def add(self, record: dict[str, Any]) -> None:
        self._images.append(record)

    def add_error(self, source: str, text: str) -> None:
        self._errors.append({"source": source, "error": text})

    def finish(self) -> None:
        content = {"model": self._model, "images": self._images, "errors": self._errors}
        with write_beside(self._path) as beside:
            beside.write_text(_dump(content), encoding="utf-8", errors="backslashreplace")


class Lines(Records):
    """One JSON object a line, written as they come: a video may have any number of frames."""

    wanted = True

    def __init__(self, path: Path) -> None:
        self._path, self._stack = path, ExitStack()

    def __enter__(self) -> "Lines":
        opened: AbstractContextManager[Path] = write_beside(self._path)
        beside = self._stack.enter_context(opened)
        file = beside.open("w", encoding="utf-8", errors="backslashreplace")
        self._file: IO[str] = self._stack.enter_context(file)
        return self

    def __exit__(self, *failed: Any) -> None:
        self._stack.__exit__(*failed)

    def add(self, record: dict[str, Any]) -> None:
        try:
            self._file.write(_dump(record))
        except OSError:
            # Removes what has been written, and says so in a sentence.
            if not self._stack.__exit__(*sys.exc_info()):
                raise

    def add_error(self, source: str, text: str) -> None:
        self.add({"source": source, "error": text})

    def finish(self) -> None:
        self._stack.close()


def open_records(path: Path | None, model: str, *, as_lines: bool) -> Records:
    """The kind of record that suits the sources."""
    if path is None:
        return Records()
    return Lines(path) if as_lines else Document(path, model)


def _dump(content: dict[str, Any]) -> str:
    # A name that is not UTF-8 holds lone surrogates, whose backslash form JSON understands.
    return json.dumps(content, ensure_ascii=False) + "\n"
