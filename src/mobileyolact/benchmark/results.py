"""What is measured on a model, and how it compares with another one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mobileyolact.benchmark.device import Device

STAGES = ("preprocess", "network", "postprocess", "total")


@dataclass(frozen=True)
class Spread:
    """Times in milliseconds: the middle one, the one that nine in ten keep, and the shortest."""

    median_ms: float
    p90_ms: float
    min_ms: float

    @classmethod
    def of(cls, times: Sequence[float]) -> "Spread":
        """Of times in milliseconds, at least one; between two times p90 is interpolated."""
        figures = (np.median(times), np.percentile(times, 90), np.min(times))
        return cls(*(round(float(figure), 4) for figure in figures))


@dataclass(frozen=True)
class Measured:
    """One model with a number of threads.

    ``stages`` has the names of ``STAGES``: from the picture's array to masks. A model of another
    project has the network alone, and no ``instances``, the number found in the picture.
    ``file_bytes`` are those of all its files, ``peak_rss_bytes`` the most memory that a process
    with nothing else in it took, ``None`` where the system does not tell.
    """

    name: str
    threads: int
    engine: str
    instances: int | None
    file_bytes: int
    peak_rss_bytes: int | None
    stages: dict[str, Spread | None]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; a stage that was not measured is null."""
        return {
            "name": self.name,
            "threads": self.threads,
            "file_bytes": self.file_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
            "stages": {name: spread and asdict(spread) for name, spread in self.stages.items()},
        }


@dataclass(frozen=True)
class Benchmark:
    """All that was measured.

    ``size`` is (width, height) of the picture. ``decode`` and ``draw`` are of the first of our own
    models; where there is none, of nothing.
    """

    device: Device
    size: tuple[int, int]
    models: tuple[Measured, ...]
    decode: Spread | None
    draw: Spread | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, times in milliseconds; what was not measured is null."""
        return {
            "device": asdict(self.device),
            "models": [model.to_json() for model in self.models],
            "decode": self.decode and asdict(self.decode),
            "draw": self.draw and asdict(self.draw),
        }

    def first(self, model: Measured) -> Measured:
        """What ``model`` is compared with: the first one of its number of threads."""
        return next(other for other in self.models if other.threads == model.threads)


def ratio(model: Measured, first: Measured, stage: str) -> float | None:
    """The median time of ``model`` as a multiple of that of ``first``.

    Where ``first`` is a bare network, the total is compared with that: all of ours from picture
    to masks against no more than their network.

    Returns:
        ``None`` where one of the two has no such stage.
    """
    own, other = model.stages[stage], first.stages[stage]
    if stage == "total" and other is None:
        other = first.stages["network"]
    return own.median_ms / other.median_ms if own and other else None
