"""All sources of ``predict``, one after the other."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mobileyolact.cli.ahead import Ahead
from mobileyolact.cli.pictures import Picture
from mobileyolact.errors import ImageError, MobileYolactError

if TYPE_CHECKING:
    from mobileyolact.cli.progress import PredictProgress
    from mobileyolact.cli.records import Records
    from mobileyolact.cli.report import Result
    from mobileyolact.cli.sources import Source
    from mobileyolact.runtime.predictor import Predictor
    from mobileyolact.stopping import StopSignals


class Run:
    """What ``predict`` does once the model is open.

    ``results`` are those of the sources that went well, ``failed`` says that something did not.
    """

    def __init__(
        self,
        predictor: "Predictor",
        ahead: Ahead,
        records: "Records",
        progress: "PredictProgress",
        stop: "StopSignals",
    ) -> None:
        self._predictor, self._ahead, self._records = predictor, ahead, records
        self._progress, self._stop = progress, stop
        self.results: list[Result] = []
        self.failed = False

    def all(self, sources: "Sequence[Source]", jobs: "Sequence[Picture | Path]") -> None:
        """Predict on the sources until their end, a signal, or a place that cannot be written.

        ``jobs`` has the picture of each source, or of a video the path of the result.
        """
        # Loaded here, while the network works on the first picture.
        import_module("mobileyolact.runtime.draw")
        for source, job in zip(sources, jobs, strict=True):
            problem: object = None
            try:
                result = (
                    self._picture(job) if isinstance(job, Picture) else self._video(source, job)
                )
                self.results.append(result)
                problem = result.problem
            except ImageError as error:
                problem = error
            except MobileYolactError as error:
                # Where one result cannot be written, no other can: the disk is full, for example.
                self._fail(error)
                return
            if problem:
                self._records.add_error(str(source), str(problem))
                self._fail(problem)
            self._progress.advance()
            if self._stop.received is not None:
                if len(self.results) < len(sources):
                    done = f"{len(self.results)} of {len(sources)}"
                    self._progress.say(f"stopped after {done} sources")
                return

    def _picture(self, picture: Picture) -> "Result":
        if not self._ahead.take():
            picture.read()
            picture.find(self._predictor)
        for note in picture.notes:
            self._progress.say(f"note: {note}")
        result, record = picture.finish(recorded=self._records.wanted)
        if record is not None:
            self._records.add(record)
        return result

    def _video(self, source: "Source", target: Path) -> "Result":
        from mobileyolact.cli.videos import predict_video

        return predict_video(
            self._predictor, source, target, self._records, self._progress, self._stop
        )

    def _fail(self, problem: object) -> None:
        self.failed = True
        self._progress.say(f"error: {problem}")
