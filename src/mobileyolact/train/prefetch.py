"""Batches made ahead of time by a few processes; the order never depends on them."""

import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from mobileyolact.errors import TrainingError

_AHEAD = 2  # batches in flight for each worker


class BatchSource(Protocol):
    """Whatever makes the batch of an iteration as a pure function of the iteration."""

    def batch(self, iteration: int, rank: int = 0, world: int = 1) -> Any:
        """This process's part of the batch; must be picklable where workers are used."""
        ...


def prefetch(
    source: BatchSource, iterations: range, rank: int, world: int, workers: int
) -> Generator[Any]:
    """Yield ``source.batch`` of each iteration in order; close the generator to end its workers.

    Raises:
        TrainingError: a worker was ended from outside, for example for want of memory.
    """
    if workers == 0:
        for iteration in iterations:
            yield source.batch(iteration, rank, world)
        return
    with TemporaryDirectory(prefix="mobileyolact-") as folder:
        # The source goes by file: through a pipe each worker would have to be up and reading
        # before the next one is started.
        stored = Path(folder) / "source"
        stored.write_bytes(pickle.dumps(source))
        # Spawned, since a fork would copy the locks of the parent's running threads.
        arguments = (stored, rank, world)
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, arguments)
        yield from _in_order(pool, iterations, workers * _AHEAD)


def _in_order(pool: ProcessPoolExecutor, iterations: range, most: int) -> Generator[Any]:
    pending: deque[Future[bytes]] = deque()
    ahead = iter(iterations)
    try:
        for _ in iterations:
            while len(pending) < most and (following := next(ahead, None)) is not None:
                pending.append(pool.submit(_make, following))
            yield pickle.loads(pending.popleft().result())
    except BrokenProcessPool:
        raise TrainingError(
            "a process that prepares batches ended unexpectedly, perhaps for want of memory; "
            "run the same command again with fewer workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: tuple[BatchSource, int, int]


def _start_worker(source: Path, rank: int, world: int) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    global _worker
    _worker = (pickle.loads(source.read_bytes()), rank, world)
    # Ctrl-C reaches the whole group, but the parent decides when workers end; where it was
    # killed and decides nothing any more, they end with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(iteration: int) -> bytes:
    source, rank, world = _worker
    # Pickled here as bytes: torch's own way between processes holds a file open per tensor.
    return pickle.dumps(source.batch(iteration, rank, world))
