"""A worker process as the one that started it sees it."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

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


class Worker:
    """A process with one model in it, a context manager that ends it.

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
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            # -P: a file of the user's called like a package must not stand in for it.
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, **dict.fromkeys(_THREADS, str(subject.threads))},
        )
        try:
            self.facts = self._ask(
                do="open",
                name=subject.name,
                path=str(subject.path),
                backend=subject.backend,
                threads=subject.threads,
                picture=str(picture),
                instances=instances,
                input_size=input_size,
            )
        except BaseException:
            self.close()
            raise

    def time(self, count: int) -> tuple[list[list[float]], int | None]:
        """Milliseconds by stage of ``count`` pictures in a row, and the peak memory since."""
        answer = self._ask(do="time", count=count)
        return answer["times"], answer["peak_rss_bytes"]

    def time_apart(self, count: int) -> list[list[float]]:
        """Milliseconds of decoding and of drawing, ``count`` times; for our own models alone."""
        answer = self._ask(do="time apart", count=count)
        times: list[list[float]] = answer["times"]
        return times

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
            raise ModelError(f"running '{self.subject.name}' failed: {self._last_words()}")
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

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
