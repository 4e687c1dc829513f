"""Timing several models in turn, each in a process of its own."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobileyolact.benchmark.device import describe_device
from mobileyolact.benchmark.picture import load_picture
from mobileyolact.benchmark.process import Worker
from mobileyolact.benchmark.results import STAGES, Benchmark, Measured, Spread
from mobileyolact.benchmark.subject import Subject

ROUNDS = 20
DEFAULT_SIZE = (1280, 720)
_PICTURES = 4  # of one model before the next one's turn
_WARM_UP = 5
_APART = 8
# Threads of OpenMP look for work for some milliseconds after each call, on cores that the next
# model needs.
_PAUSE = 0.02  # seconds

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Setting:
    """What models are run on.

    Args:
        image: a picture; ``None`` is a built-in one.
        size: (width, height) that it is resized to; ``None`` is its own, or ``DEFAULT_SIZE``.
        instances: replace the networks' outputs so that there are so many; ``None`` leaves them.
        input_size: (width, height) for models of other projects that do not fix it.
    """

    image: Path | None = None
    size: tuple[int, int] | None = None
    instances: int | None = None
    input_size: tuple[int, int] | None = None


def run_benchmark(
    subjects: Sequence[Subject],
    threads: Sequence[int] = (1,),
    setting: Setting | None = None,
    rounds: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Benchmark:
    """Measure models against each other.

    All of one number of threads are opened, each in a process of its own, warmed up, and take
    turns, so that whatever happens on the machine meanwhile is unkind to all alike. Of every turn
    the first picture does not count: it finds caches that another model has filled.

    Args:
        subjects: the models; their ``threads`` are replaced.
        threads: numbers of threads, one after the other.
        setting: what they are run on.
        rounds: turns of each model; ``None`` is ``ROUNDS``.
        progress: told how many rounds are done.

    Raises:
        MobileYolactError: a model or the picture cannot be opened or run.
    """
    setting, rounds = setting or Setting(), rounds or ROUNDS
    device = describe_device()
    models: list[Measured] = []
    apart: dict[str, Spread] = {}
    with _picture_file(setting) as (picture, size):
        for done, number in enumerate(threads):
            with ExitStack() as stack:
                workers = [
                    stack.enter_context(
                        Worker(
                            dataclasses.replace(subject, threads=number),
                            picture,
                            setting.instances,
                            setting.input_size,
                        )
                    )
                    for subject in subjects
                ]
                for worker in workers:
                    worker.time(_WARM_UP)
                taken: list[list[list[float]]] = [[] for _ in workers]
                peaks: list[int | None] = [None] * len(workers)
                for turn in range(rounds):
                    progress(done * rounds + turn, len(threads) * rounds)
                    for i, worker in enumerate(workers):
                        times, peaks[i] = worker.time(1 + _PICTURES)
                        taken[i] += times[1:]
                        if number > 1:
                            time.sleep(_PAUSE)
                models += map(_measured, workers, taken, peaks)
                own = [worker for worker in workers if worker.facts["instances"] is not None]
                if own and not apart:
                    apart = _apart(own[0])
    return Benchmark(device, size, tuple(models), apart.get("decode"), apart.get("draw"))


def _apart(worker: Worker) -> dict[str, Spread]:
    """After a warm-up of one; the most memory has been read by now, which does not count this."""
    decode, draw = zip(*worker.time_apart(1 + _APART)[1:], strict=True)
    return {"decode": Spread.of(decode), "draw": Spread.of(draw)}


def _measured(worker: Worker, taken: list[list[float]], peak: int | None) -> Measured:
    """A network alone has one time a picture, the others one for each stage but the total."""
    stages: dict[str, Spread | None] = dict.fromkeys(STAGES)
    columns = [list(column) for column in zip(*taken, strict=True)]
    if len(columns) == 1:
        stages["network"] = Spread.of(columns[0])
    else:
        columns.append([sum(times) for times in taken])
        stages = dict(zip(STAGES, map(Spread.of, columns), strict=True))
    return Measured(
        name=worker.subject.name,
        threads=worker.subject.threads,
        engine=worker.facts["engine"],
        instances=worker.facts["instances"],
        file_bytes=sum(file.stat().st_size for file in worker.subject.files),
        peak_rss_bytes=peak,
        stages=stages,
    )


@contextmanager
def _picture_file(setting: Setting) -> Iterator[tuple[Path, tuple[int, int]]]:
    """The picture as an array in a file, so that no worker's memory holds how it was made."""
    size = setting.size
    if setting.image is None:
        size = size or DEFAULT_SIZE
    image = load_picture(setting.image, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.npy"
        np.save(path, image)
        yield path, (image.shape[1], image.shape[0])
