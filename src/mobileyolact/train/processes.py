"""The processes of one run, which ``accelerate launch`` starts on one machine or several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch

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


def local_processes() -> int:
    """How many processes of this run share this machine."""
    return _count("LOCAL_WORLD_SIZE")


def _count(variable: str) -> int:
    return int(os.environ.get(variable, "1"))
