"""The bars of ``predict`` on a terminal."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bars:
    """One bar for the sources, if there are several, and one for the video at hand."""

    def __init__(self, sources: int, console: Console | None = None) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._sources = sources
        self._overall = self._bar.add_task(
            "predict", total=sources, text=f"0/{sources}", visible=sources > 1
        )
        self._video = self._bar.add_task("", text="", visible=False)
        self._bar.start()

    def stop(self) -> None:
        """Remove them."""
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above them."""
        self._bar.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def sources(self, done: int) -> None:
        """So many sources are done."""
        self._bar.update(self._overall, completed=done, text=f"{done}/{self._sources}")
        self._bar.update(self._video, visible=False)

    def begin(self, name: str, frames: int | None) -> None:
        """A video begins."""
        self._bar.reset(self._video, total=frames, description=name, visible=True)

    def frame(self, done: int, text: str) -> None:
        """So many frames of the video are done, which ``text`` says too."""
        self._bar.update(self._video, completed=done, text=text)
