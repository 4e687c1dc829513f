"""Measure `mobileyolact predict`: its start, and a folder against its pictures one by one.

    OPENBLAS_NUM_THREADS=1 python research/predict_speed.py --pictures DIR [--rounds N]

Start: processes that predict on the first picture, and others that only import numpy, OpenCV and
ONNX Runtime, take turns.

Folder: in one warm process all pictures of DIR are predicted on one after the other, and as the
command does it, in turns, one engine thread each; the ratio of wall times says what overlapping
gains, that of CPU times what it costs. The command keeps numpy to one thread, so this does too.
Stop everything else first.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2

from mobileyolact import Predictor
from mobileyolact.cli.ahead import Ahead, count_workers
from mobileyolact.cli.pictures import Picture
from mobileyolact.cli.progress import PredictProgress
from mobileyolact.cli.records import Records
from mobileyolact.cli.run import Run
from mobileyolact.cli.sources import Source, find_pictures
from mobileyolact.stopping import StopSignals

IMPORTS = [sys.executable, "-c", "import numpy, cv2, onnxruntime"]
# Python keeps compiled modules, as it does for users, whatever this process was told.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

Times = tuple[float, float]
"""Wall and CPU time in seconds."""


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    for row in measure_predict(options.pictures, options.rounds):
        print(json.dumps(row))


def measure_predict(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """A row for the start and one for the folder: medians of milliseconds, and their ratios."""
    pictures = find_pictures(folder)
    with tempfile.TemporaryDirectory() as out:
        predict = [sys.executable, "-m", "mobileyolact", "predict", str(pictures[0]), "-o", out]
        start = in_turns(
            {"predict": lambda: child(predict), "imports": lambda: child(IMPORTS)}, rounds
        )
        jobs = [(Source(path), Path(out) / path.name) for path in pictures]
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            with Predictor("coco", threads=1) as predictor:
                ways = {
                    "overlapped": lambda: timed(lambda: overlapped(predictor, jobs)),
                    "one by one": lambda: timed(lambda: one_by_one(predictor, jobs)),
                }
                several = in_turns(ways, max(3, rounds // 3))
        finally:
            cv2.setNumThreads(threads)
    return [_row("start", start), _row(f"{len(jobs)} pictures", several)]


def _row(what: str, found: dict[str, list[Times]]) -> dict[str, Any]:
    """Of two ways, the first against the second."""
    row: dict[str, Any] = {"what": what, "ways": list(found)}
    for index, clock in enumerate(("wall", "cpu")):
        ms = [1e3 * median(times[index] for times in way) for way in found.values()]
        row[clock] = {"ms": [round(value, 1) for value in ms], "ratio": round(ms[0] / ms[1], 3)}
    return row


def in_turns(ways: dict[str, Callable[[], Times]], rounds: int) -> dict[str, list[Times]]:
    """Times of each way, without those of a first round that warms up."""
    found: dict[str, list[Times]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            times = way()
            if number:
                found[name].append(times)
    return found


def child(command: list[str]) -> Times:
    """Times of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def timed(work: Callable[[], None]) -> Times:
    """Times of ``work`` in this process, all its threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def one_by_one(predictor: Predictor, jobs: list[tuple[Source, Path]]) -> None:
    """Each picture is finished before the next one is begun."""
    for source, target in jobs:
        picture = Picture(source.path, target)
        picture.read()
        picture.find(predictor)
        picture.finish(recorded=False)


def overlapped(predictor: Predictor, jobs: list[tuple[Source, Path]]) -> None:
    """What the command does."""
    pictures = [Picture(source.path, target) for source, target in jobs]
    with Ahead(pictures, count_workers(1)) as ahead:
        ahead.use(predictor)
        run = Run(predictor, ahead, Records(), PredictProgress(1), StopSignals())
        run.all([source for source, _ in jobs], pictures)
        assert not run.failed


if __name__ == "__main__":
    main()
