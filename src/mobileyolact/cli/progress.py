"""What a person sees of ``predict`` while it runs: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from mobileyolact.cli.lines import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from mobileyolact.cli.bars import Bars

_PLAIN_INTERVAL = 30.0  # seconds


class PredictProgress:
    """Shows how many sources are done, and of a video frames, frames a second and time left.

    A context manager. ``terminal`` is where to show bars, by default standard error if that is
    a terminal; ``clock`` is in seconds.
    """

    def __init__(
        self,
        sources: int,
        terminal: "Console | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources, self._done = sources, 0
        self._terminal, self._clock = terminal, clock
        self._bars: Bars | None = None

    def __enter__(self) -> "PredictProgress":
        if self._sources > 1:
            self._show_bars()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _show_bars(self) -> None:
        """On a terminal alone, because only there rich is worth the time that it takes to load."""
        if self._bars is None and (self._terminal is not None or sys.stderr.isatty()):
            from mobileyolact.cli.bars import Bars

            self._bars = Bars(self._sources, self._terminal)

    def say(self, line: str) -> None:
        """Print one line, above the bars if there are any."""
        if self._bars is not None:
            self._bars.say(one_line(line))
        else:
            typer.echo(one_line(line), err=True)

    def advance(self) -> None:
        """One more source is done."""
        self._done += 1
        if self._bars is not None:
            self._bars.sources(self._done)

    def begin(self, name: str, frames: int | None) -> None:
        """A video begins, of ``frames`` frames where that is known."""
        self._name, self._frames = one_line(name), frames
        self._start = self._last_line = self._clock()
        self._show_bars()
        if self._bars is not None:
            self._bars.begin(self._name, frames)

    def frame(self, done: int) -> None:
        """So many frames of the video are done."""
        now = self._clock()
        rate = done / max(now - self._start, 1e-9)
        total = f"/{self._frames}" if self._frames else ""
        text = f"frame {done}{total}, {rate:.1f} frames/s"
        if self._bars is not None:
            self._bars.frame(done, text)
        elif now - self._last_line >= _PLAIN_INTERVAL:
            self._last_line = now
            if self._frames:
                left = max(0, self._frames - done) / rate
                text += f", {timedelta(seconds=round(left))} left"
            self.say(f"{self._name}: {text}")
