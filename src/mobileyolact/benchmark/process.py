"""A worker process as the one that started it sees it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mobileyolact import errors
from mobileyolact.benchmark.subject import Subject
from mobileyolact.errors import ModelError

_MODULE = "mobileyolact.benchmark.worker"
# Libraries that numpy and the engines compute with read these when they are loaded.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class _Process:
    """A process that has opened something, a context manager that ends it."""

    def __init__(self, name: str, threads: int, opening: dict[str, Any]) -> None:
        self._name = name
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            # -P: a file of the user's called like a package must not stand in for it.
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, **dict.fromkeys(_THREADS, str(threads))},
        )
        try:
            self.facts = self._ask(**opening)
        except BaseException:
            self.close()
            raise

    def _ask(self, **request: Any) -> dict[str, Any]:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        line = b""
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            line = answers.readline()
        except OSError:
            pass  # it ended before it read: the line stays empty
        if not line:
            raise ModelError(f"running '{self._name}' failed: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer

    def _last_words(self) -> str:
        """Why the process ended: the last line that it printed, or the signal that ended it."""
        code = self._process.wait()
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if code < 0:
            return f"the engine ended its process by signal {-code}; the file may be damaged"
        return said[-1] if said else f"its process ended with exit code {code}"

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._printed):
            if stream is not None:
                with suppress(OSError):  # what it did not live to read
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Worker(_Process):
    """A process with one model in it.

    Args:
        subject: the model.
        picture: an ``.npy`` file with the picture, (H, W, 3) uint8 RGB.
        instances: replace the network's outputs so that there are so many.
        input_size: (width, height) for a model of another project that does not fix it.

    Raises:
        MobileYolactError: the model cannot be opened or run.
    """

    def __init__(
        self,
        subject: Subject,
        picture: Path,
        instances: int | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        self.subject = subject
        opening = {
            "do": "open",
            "name": subject.name,
            "path": str(subject.path),
            "backend": subject.backend,
            "threads": subject.threads,
            "picture": str(picture),
            "instances": instances,
            "input_size": input_size,
        }
        super().__init__(subject.name, subject.threads, opening)

    def time(self, count: int) -> tuple[list[list[float]], int | None]:
        """Milliseconds by stage of ``count`` pictures in a row, and the peak memory since."""
        answer = self._ask(do="time", count=count)
        return answer["times"], answer["peak_rss_bytes"]

    def time_apart(self, count: int) -> list[list[float]]:
        """Milliseconds of decoding and of drawing, ``count`` times; for our own models alone."""
        answer = self._ask(do="time apart", count=count)
        times: list[list[float]] = answer["times"]
        return times


class NetworksWorker(_Process):
    """A process with several ncnn networks in it, which run in turn on one thread.

    Args:
        networks: the ``.param`` files, each with the (width, height) of pictures for an ``Input``
            layer that does not fix them.

    Attributes:
        values: of each network, how many values its layers read and write.

    Raises:
        MobileYolactError: one of them cannot be opened or run.
    """

    def __init__(self, networks: Sequence[tuple[Path, tuple[int, int] | None]]) -> None:
        listed = [(str(path), size) for path, size in networks]
        super().__init__("networks in turn", 1, {"do": "open networks", "networks": listed})
        self.values: list[int] = self.facts["values"]

    def time(self) -> list[float]:
        """Milliseconds of processor time of each network, once."""
        times: list[float] = self._ask(do="time", count=1)["times"][0]
        return times
