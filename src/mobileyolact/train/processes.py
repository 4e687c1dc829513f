"""The processes of one run, which ``accelerate launch`` starts on one machine or several."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor

# While one process validates, the others wait; NCCL by itself gives up after ten minutes.
_LONGEST_WAIT = timedelta(hours=2)


@contextmanager
def joined_processes() -> Iterator[bool]:
    """Join the other processes of this run, if there are any, and leave together with them.

    Yields whether this process is the one that writes files and speaks to the user. CUDA devices
    talk through NCCL; without any, the processes share the CPU and talk through gloo.
    """
    from accelerate import PartialState  # type: ignore[import-untyped]

    # Where no device is found, accelerate would make of each process a run of its own.
    on_cpu = _count("WORLD_SIZE") > 1 and not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=_LONGEST_WAIT)
    try:
        yield state.is_main_process
        state.wait_for_everyone()
    finally:
        # Threads of gloo that are still running would abort the process at its end.
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def mean_over_processes(value: Tensor, least: float = -math.inf) -> Tensor:
    """The mean of ``value`` over the processes of this run, of the same shape, as float.

    Has no gradient. With one process it is ``value`` itself. A loss summed over the objects of a
    process and divided by the mean of their count has, averaged over the processes as their
    gradients are, the value that a single process would find for the whole batch.

    All processes have to call this equally often and with equal shapes, so also those that have
    nothing to count.

    Args:
        least: what the sum over all processes counts as where it is less, so that a small count
            is bounded alike for every number of processes.
    """
    total = value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True)
    world = 1
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        world = torch.distributed.get_world_size()
    return total.clamp(min=least) / world


def rank_and_world() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are in its run."""
    if torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def local_processes() -> int:
    """How many processes of this run share this machine."""
    return _count("LOCAL_WORLD_SIZE")


def _count(variable: str) -> int:
    return int(os.environ.get(variable, "1"))
