"""The record of a run: one JSON line an iteration; scalars and pictures for TensorBoard, if any."""

import importlib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mobileyolact.files import write_beside

LOG_NAME = "log.jsonl"


class Show(Protocol):
    """Makes RGB pictures (H, W, 3) of a batch, and of what a network in eval mode finds."""

    def augmented(self, batch: Any) -> NDArray[np.uint8]: ...

    def predictions(self, network: Any) -> NDArray[np.uint8]: ...


class TrainingLog:
    """Appends to ``log.jsonl`` and ``tensorboard/`` of a run's folder; a context manager.

    Lines later than ``iteration``, where the run goes on, are dropped first: they belong to
    iterations that are now done again. ``show`` makes the pictures, which TensorBoard alone gets.
    """

    def __init__(self, directory: Path, iteration: int, show: Show | None = None) -> None:
        self._show = show
        self._path = directory / LOG_NAME
        _keep_until(self._path, iteration)
        self._file = self._path.open("a", encoding="utf-8")
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            tensorboard = importlib.import_module("torch.utils.tensorboard")
            self._board = tensorboard.SummaryWriter(
                str(directory / "tensorboard"), purge_step=iteration + 1
            )

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Record ``values`` by name at ``iteration`` (from 1)."""
        self._file.write(json.dumps({"iteration": iteration, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, iteration)

    def add_augmented(self, batch: Any) -> None:
        """Record a picture of the run's first batch."""
        if self._show and self._board is not None:
            picture = self._show.augmented(batch)
            self._board.add_image("augmented", picture, 1, dataformats="HWC")

    def add_predictions(self, network: Any, iteration: int) -> None:
        """Record a picture of what ``network`` finds after ``iteration``."""
        if self._show and self._board is not None:
            picture = self._show.predictions(network)
            self._board.add_image("predictions", picture, iteration, dataformats="HWC")


def _keep_until(path: Path, iteration: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["iteration"] <= iteration:
                kept.append(line + "\n")
        except ValueError:
            break  # killed within this line
    with write_beside(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
