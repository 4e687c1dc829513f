"""The process that one model runs in, so that no other disturbs its times or counts as its memory.

It reads requests from standard input, a JSON object a line, and answers each with one line on
what was its standard output; what engines print goes to standard error. It ends with its input.
"""

import json
import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from mobileyolact.benchmark.foreign import ForeignModel, ForeignNcnn
from mobileyolact.benchmark.memory import peak_rss_bytes
from mobileyolact.benchmark.picture import ImageArray, as_jpeg
from mobileyolact.benchmark.subject import Subject, open_subject
from mobileyolact.benchmark.synthetic import options_for, synthetic_outputs
from mobileyolact.errors import MobileYolactError
from mobileyolact.runtime.backends.base import Backend, FloatArray, RawOutputs
from mobileyolact.runtime.draw import draw
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.predictor import Predictor
from mobileyolact.runtime.preprocess import preprocess


class Replaced:
    """A backend that does its work and then gives other outputs."""

    def __init__(self, backend: Backend, outputs: RawOutputs) -> None:
        self.contract = backend.contract
        self.describe, self.close = backend.describe, backend.close
        self._backend, self._outputs = backend, outputs

    def run(self, tensor: FloatArray) -> RawOutputs:
        self._backend.run(tensor)
        return self._outputs


class Own:
    """One of our models on a picture, by the same calls as anybody's."""

    def __init__(self, backend: Backend, image: ImageArray, instances: int | None) -> None:
        self._image = image
        overrides: dict[str, Any] = {}
        if instances is not None:
            options = options_for(backend.contract, instances)
            _, placement = preprocess(image, backend.contract)
            outputs = synthetic_outputs(backend.contract, placement, options, instances)
            backend = Replaced(backend, outputs)
            overrides = {n: getattr(options, n) for n in ("max_detections", "max_candidates")}
        self._predictor = Predictor(backend, **overrides)

    def facts(self) -> dict[str, Any]:
        found = len(self._predictor(self._image))
        return {"engine": self._predictor.backend.describe(), "instances": found}

    def time(self) -> tuple[float, ...]:
        """Milliseconds of preprocess, network, and postprocess with all masks made."""
        _, times = self._predictor.timed(self._image)
        return times[1:]

    def time_apart(self, count: int) -> list[tuple[float, ...]]:
        """Milliseconds that it takes to decode the picture as a JPEG, and to draw the masks."""
        jpeg = as_jpeg(self._image)
        instances = self._predictor(self._image)
        taken = []
        for _ in range(count):
            times = [time.perf_counter()]
            open_image(jpeg)
            times.append(time.perf_counter())
            draw(self._image, instances)
            times.append(time.perf_counter())
            taken.append(tuple(1000 * (end - start) for start, end in pairwise(times)))
        return taken


class Foreign:
    """A model of another project, of which only the network is timed."""

    def __init__(self, model: ForeignModel) -> None:
        self._model = model

    def facts(self) -> dict[str, Any]:
        self._model.run()
        return {"engine": self._model.describe(), "instances": None}

    def time(self) -> tuple[float, ...]:
        """Milliseconds of the network."""
        start = time.perf_counter()
        self._model.run()
        return (1000 * (time.perf_counter() - start),)


class InTurn:
    """Several ncnn networks, which run one after the other, for processor time on one thread."""

    def __init__(self, models: list[ForeignNcnn]) -> None:
        self._models = models

    def facts(self) -> dict[str, Any]:
        return {"values": [model.values() for model in self._models]}

    def time(self) -> tuple[float, ...]:
        """Milliseconds of each network, behind a run of it that fills the caches."""
        times = []
        for model in self._models:
            model.run()
            start = time.thread_time()
            model.run()
            times.append(1000 * (time.thread_time() - start))
        return tuple(times)


def _open(request: dict[str, Any]) -> Own | Foreign:
    subject = Subject(
        request["name"], Path(request["path"]), request["backend"], request["threads"]
    )
    # This process is the benchmark's own: one thread means one, also where pictures are resized.
    cv2.setNumThreads(subject.threads)
    model = open_subject(subject, _size(request["input_size"]))
    if isinstance(model, ForeignModel):
        return Foreign(model)
    return Own(model, np.load(request["picture"]), request["instances"])


def _size(sides: list[int] | None) -> tuple[int, int] | None:
    return (sides[0], sides[1]) if sides else None


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until they end; the first must be ``open``."""
    model: Any = None
    for line in requests:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if request["do"] == "open":
                model = _open(request)
                answer = model.facts()
            elif request["do"] == "open networks":
                listed = request["networks"]
                model = InTurn([ForeignNcnn(Path(path), 1, _size(size)) for path, size in listed])
                answer = model.facts()
            elif request["do"] == "time":
                times = [model.time() for _ in range(request["count"])]
                answer = {"times": times, "peak_rss_bytes": peak_rss_bytes()}
            else:
                answer = {"times": model.time_apart(request["count"])}
        except MobileYolactError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Serve the process that started this one, whatever engines print meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
