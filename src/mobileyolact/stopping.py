"""Stopping by signal: what is being done is finished and saved first."""

import signal
import threading
from types import FrameType
from typing import Any

from mobileyolact.errors import TrainingError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingStopped(TrainingError):
    """A run that a signal stopped after saving; exit code 130 (SIGINT) or 143 (SIGTERM)."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignals:
    """Within ``with``, the first SIGINT or SIGTERM is kept in ``received``.

    A second one acts as it did before. Outside of the main thread, where Python allows no
    handlers, nothing is installed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        self.__exit__()
