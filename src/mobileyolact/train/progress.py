"""What a person sees of a run: a bar on a terminal, one plain line now and then elsewhere."""

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_PLAIN_INTERVAL = 30.0  # seconds
_SMOOTHING = 0.95


class TrainingProgress:
    """Shows iteration, time left, losses and images per second; a context manager.

    Losses are averaged over the last twenty or so iterations. ``clock`` is in seconds.
    """

    def __init__(
        self,
        iterations: int,
        done: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(stderr=True)
        self._iterations, self._first, self._clock = iterations, done, clock
        self._losses: dict[str, float] = {}
        self._start = self._last_line = clock()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            speed_estimate_period=300,
        )
        self._task = self._bar.add_task("train", total=iterations, completed=done, text="")

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print one line, above the bar if there is one."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def update(self, done: int, losses: Mapping[str, float], images_per_second: float) -> None:
        """Show that ``done`` iterations are done, the last one with these losses."""
        for name, value in losses.items():
            before = self._losses.get(name, value)
            self._losses[name] = _SMOOTHING * before + (1 - _SMOOTHING) * value
        parts = " ".join(f"{name} {value:.3f}" for name, value in self._losses.items())
        text = f"{parts}  {images_per_second:.1f} images/s"
        if self.console.is_terminal:
            self._bar.update(self._task, completed=done, text=text)
            return
        now = self._clock()
        if now - self._last_line >= _PLAIN_INTERVAL or done == self._iterations:
            self._last_line = now
            left = (now - self._start) / (done - self._first) * (self._iterations - done)
            self.say(f"iteration {done}/{self._iterations}  {text}  {_duration(left)} left")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
