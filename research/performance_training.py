"""How fast networks train on one core, for docs/performance.md; ``performance.py`` calls it.

Each preset trains in a process of its own, whose peak of memory is its own, for a few iterations
by the same call as ``mobileyolact train``, with batches prepared in the loop. The loader's rate is
counted in seconds of a core, see bench_loader.py.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import torch
from bench_loader import images_per_core_second

from mobileyolact.benchmark.memory import peak_rss_bytes
from mobileyolact.errors import MobileYolactError
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.presets import get_preset
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import TrainingData
from mobileyolact.train.run import run_training

PRESETS = ("n-416", "n-320", "s-320", "paper-320")
BATCH = 8
ITERATIONS = 10
WARM_UP = 3
LOADED = 10  # batches


def measure_training(labels: Path) -> list[dict[str, Any]]:
    """A row for each preset.

    Raises:
        MobileYolactError: the labels cannot be trained on.
    """
    return [_in_process(preset, labels) for preset in PRESETS]


def _in_process(preset: str, labels: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, preset, str(labels)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip() or "no word").splitlines()[-1]
        raise MobileYolactError(f"training {preset} on {labels} failed: {reason}")
    row: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return row


def _measure(preset: str, labels: Path) -> dict[str, Any]:
    cv2.setNumThreads(1)
    options = {"iterations": ITERATIONS, "batch_size": BATCH, "workers": 0}
    with tempfile.TemporaryDirectory() as folder:
        run_training([labels], Path(folder), preset=preset, init="none", threads=1, options=options)
        log = (Path(folder) / "log.jsonl").read_text(encoding="utf-8")
    rates = [json.loads(line)["images_per_second"] for line in log.splitlines()]
    peak = peak_rss_bytes()
    torch.set_num_threads(1)
    dataset = read_labels(labels)
    loader = {}
    for name, probability in (("loader", 0.0), ("loader_copy_paste", 0.5)):
        config = TrainConfig.for_images(
            len(dataset.records), batch_size=BATCH, copy_paste=probability
        )
        data = TrainingData(dataset, get_preset(preset), config)
        loader[name] = round(images_per_core_second(data, LOADED), 1)
    trained = round(median(rates[WARM_UP:]), 2)
    return {"preset": preset, "training": trained, **loader, "peak_rss_bytes": peak}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
