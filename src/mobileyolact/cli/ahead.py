"""Pictures of ``predict`` that are read and predicted on before it is their turn."""

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from mobileyolact.cli.pictures import Picture
from mobileyolact.errors import ImageError

if TYPE_CHECKING:
    from mobileyolact.runtime.predictor import Predictor

# Larger pictures wait for their turn: one of 100 megapixels takes 0.9 GB.
AHEAD_PIXELS = 16_000_000
_MOST_WORKERS = 4


def count_workers(engine_threads: int) -> int:
    """How many pictures the cores of this process can work on at once."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min(cores // engine_threads, _MOST_WORKERS))


class Ahead:
    """Reads pictures and predicts on them in threads, at most ``workers`` at once.

    Decoders, engines, numpy and OpenCV let Python's threads run beside them. Nothing that is seen
    from outside is done here: results are drawn, written and reported by who takes them, one
    after the other in the order of the pictures.

    A context manager. The first pictures are read at once, so while the model is being opened.
    """

    def __init__(self, pictures: Iterable[Picture], workers: int) -> None:
        self._pictures = iter(pictures)
        self._pool = ThreadPoolExecutor(workers)
        self._predictor: Future[Predictor] = Future()
        self._tasks: deque[Future[None]] = deque()
        # One more than are worked on, so that no worker waits for the one who takes them.
        for _ in range(workers + 1):
            self._begin()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._predictor.cancel()
        self._pool.shutdown(cancel_futures=True)

    def use(self, predictor: "Predictor") -> None:
        """Predict with this one, from several threads."""
        self._predictor.set_result(predictor)

    def take(self) -> bool:
        """Wait until the next picture has been predicted on.

        Returns:
            Whether it has. False: it has to be read again by who takes it, because it is too large
            to be read ahead, or to find out what is wrong with it.
        """
        task = self._tasks.popleft()
        try:
            task.result()
        except ImageError:
            return False
        finally:
            self._begin()
        return True

    def _begin(self) -> None:
        picture = next(self._pictures, None)
        if picture is not None:
            self._tasks.append(self._pool.submit(self._work, picture))

    def _work(self, picture: Picture) -> None:
        picture.read(AHEAD_PIXELS)
        picture.find(self._predictor.result())
