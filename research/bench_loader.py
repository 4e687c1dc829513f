"""How many pictures a second a core prepares for training: reading, augmentation, batches.

    python research/bench_loader.py --data LABELS [--data LABELS...] [--workers 1]

The first line is counted in seconds of one core, so other programs hardly disturb it. The second
is counted by the clock, with the worker processes of a training run and nothing else to do for
them, after the seconds that a worker takes to start.
"""

import argparse
import time
from contextlib import closing
from pathlib import Path

import cv2
import torch

from mobileyolact.labels.dataset import merge
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.presets import get_preset
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import TrainingData
from mobileyolact.train.prefetch import prefetch


def images_per_core_second(data: TrainingData, batches: int) -> float:
    data.batch(0)
    began = time.process_time()
    for iteration in range(1, batches + 1):
        data.batch(iteration)
    return batches * data.config.batch_size / (time.process_time() - began)


def images_per_second(data: TrainingData, batches: int, workers: int) -> float:
    first = 4 * workers  # what may be queued while the others start
    with closing(prefetch(data, range(first + batches), 0, 1, workers)) as made:
        for _ in range(first):
            next(made)
        began = time.perf_counter()
        for _ in range(batches):
            next(made)
        return batches * data.config.batch_size / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="LABELS")
    parser.add_argument("--images", type=Path, metavar="DIR")
    parser.add_argument("--preset", default="n-416")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--copy-paste", type=float, default=0.5, metavar="PROBABILITY")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    dataset = merge([read_labels(path, options.images) for path in options.data])
    config = TrainConfig.for_images(
        len(dataset.records), batch_size=options.batch_size, copy_paste=options.copy_paste
    )
    data = TrainingData(dataset, get_preset(options.preset), config)
    print(f"one core: {images_per_core_second(data, options.batches):.0f} images/s")
    if options.workers:
        rate = images_per_second(data, options.batches, options.workers)
        each = rate / options.workers
        print(f"workers: {rate:.0f} images/s from {options.workers}, {each:.0f} from each")


if __name__ == "__main__":
    main()
