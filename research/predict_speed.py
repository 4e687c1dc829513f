"""Measure `mobileyolact predict`: its start, and a folder against its pictures one by one.

    python research/predict_speed.py --pictures DIR [--rounds N] [--model MODEL]

Start: processes that predict on the first picture and processes that only import numpy, OpenCV and
ONNX Runtime take turns; their ratio in wall time and in CPU time (medians and minima).

Folder: in one warm process all pictures of DIR are predicted on one after the other and as the
command does it, in turns, one engine thread each; the ratio of wall times says what overlapping
gains, that of CPU times what it costs. Stop everything else first; set OMP_NUM_THREADS=1, and leave
PYTHONDONTWRITEBYTECODE unset, or Python compiles an editable package anew at each start.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

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

Times = tuple[float, float]
"""Wall and CPU time in seconds."""


def main() -> None:
    """Measure both and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", default="coco")
    args = parser.parse_args()
    pictures = find_pictures(args.pictures)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mobileyolact", "predict", str(pictures[0])]
        command += ["-m", args.model, "-o", folder]
        start = in_turns(
            {"predict": lambda: child(command), "imports": lambda: child(IMPORTS)}, args.rounds
        )
        show("start", start, "predict", "imports")
        cv2.setNumThreads(1)
        with Predictor(args.model, threads=1) as predictor:
            jobs = [(Source(path), Path(folder) / path.name) for path in pictures]
            ways = {
                "one by one": lambda: timed(lambda: one_by_one(predictor, jobs)),
                "overlapped": lambda: timed(lambda: overlapped(predictor, jobs)),
            }
            show(f"{len(jobs)} pictures", in_turns(ways, max(3, args.rounds // 3)), *ways)


def in_turns(ways: dict[str, Callable[[], Times]], rounds: int) -> dict[str, list[Times]]:
    """Times of each way, without those of a first round that warms up."""
    found: dict[str, list[Times]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            times = way()
            if number:
                found[name].append(times)
    return found


def show(title: str, found: dict[str, list[Times]], above: str, below: str) -> None:
    """Print medians, minima and ratios."""
    print(title)
    for index, what in enumerate(("wall", "CPU")):
        for how in (median, min):
            a, b = (1e3 * how(times[index] for times in found[name]) for name in (above, below))
            print(f"  {what} {how.__name__}: {above} {a:.0f} ms, {below} {b:.0f} ms, {a / b:.2f}")


def child(command: list[str]) -> Times:
    """Times of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
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
