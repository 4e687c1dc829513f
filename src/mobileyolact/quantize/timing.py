"""How long two models take in turn, so that a busy machine is unkind to both alike."""

import os
import time
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mobileyolact.runtime.backends.base import Backend

ROUNDS = 15
_WARM_UP = 2

# With one thread an engine works in the thread that calls it, whose own time leaves out what
# other processes took. Windows counts that time in steps of 16 ms, too coarse here.
_clock = time.perf_counter if os.name == "nt" else time.thread_time


def network_times(a: Backend, b: Backend, tensor: NDArray[np.float32]) -> tuple[float, float]:
    """Median milliseconds that each of two models opened with one thread takes for ``tensor``.

    Args:
        a: a model.
        b: another one that reads the same input.
        tensor: (1, 3, H, W) from ``preprocess``.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(_WARM_UP + ROUNDS):
        for backend, taken in zip((a, b), times, strict=True):
            start = _clock()
            backend.run(tensor)
            if number >= _WARM_UP:
                taken.append(1000 * (_clock() - start))
    return median(times[0]), median(times[1])
