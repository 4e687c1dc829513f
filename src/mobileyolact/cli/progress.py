"""What a person sees of ``predict`` while it runs: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mobileyolact.cli.lines import one_line

_PLAIN_INTERVAL = 30.0  # seconds


class PredictProgress:
    """Shows how many sources are done, and of a video frames, frames a second and time left.

    A context manager. ``clock`` is in seconds.
    """

    def __init__(
        self,
        sources: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(stderr=True)
        self._clock = clock
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._sources, self._done = sources, 0
        self._overall = self._bar.add_task(
            "predict", total=sources, text=f"0/{sources}", visible=sources > 1
        )
        self._video = self._bar.add_task("", text="", visible=False)

    def __enter__(self) -> "PredictProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print one line, above the bars if there are any."""
        self._bar.console.print(
            one_line(line), markup=False, highlight=False, emoji=False, soft_wrap=True
        )

    def advance(self) -> None:
        """One more source is done."""
        self._done += 1
        self._bar.update(self._overall, completed=self._done, text=f"{self._done}/{self._sources}")
        self._bar.update(self._video, visible=False)

    def begin(self, name: str, frames: int | None) -> None:
        """A video begins, of ``frames`` frames where that is known."""
        self._name, self._frames = one_line(name), frames
        self._start = self._last_line = self._clock()
        self._bar.reset(self._video, total=frames, description=self._name, visible=True)

    def frame(self, done: int) -> None:
        """So many frames of the video are done."""
        now = self._clock()
        rate = done / max(now - self._start, 1e-9)
        total = f"/{self._frames}" if self._frames else ""
        text = f"frame {done}{total}, {rate:.1f} frames/s"
        self._bar.update(self._video, completed=done, text=text)
        if not self.console.is_terminal and now - self._last_line >= _PLAIN_INTERVAL:
            self._last_line = now
            if self._frames:
                left = max(0, self._frames - done) / rate
                text += f", {timedelta(seconds=round(left))} left"
            self.say(f"{self._name}: {text}")
