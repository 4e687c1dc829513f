"""Measure what docs/performance.md shows: export and quantize checkpoints, and time the files.

    python research/performance.py --pictures DIR --labels LABELS [--s-320 CKPT] [--out DIR]
                                   [--rounds N] [--anyway]

DIR has pictures to calibrate and to predict on, LABELS says what to train on. Files are made in a
temporary folder; figures go to research/performance, one JSON file for each section of the page,
which `make docs` makes of them. Before each measurement it waits until the machine has nothing else
to do, as long as a quarter of an hour; --anyway measures at once, which is for trying this script
alone.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from performance_page import FOLDER, POSTPROCESS, PREDICT, TRAINING
from performance_projection import PROJECTION, measure_projection
from performance_training import measure_training
from predict_speed import measure_predict

from mobileyolact import zoo
from mobileyolact.benchmark.device import BUSY, describe_device
from mobileyolact.benchmark.results import Benchmark, Measured
from mobileyolact.benchmark.subject import Subject
from mobileyolact.benchmark.timing import ROUNDS, Setting, run_benchmark
from mobileyolact.errors import MobileYolactError, OptionError
from mobileyolact.export.artefact import export_artefacts
from mobileyolact.files import write_beside
from mobileyolact.quantize.artefact import quantize_artefacts, write_small_artefacts

PICTURE, INSTANCES = (1280, 720), 10
SCENES = [(size, n) for size in ((1920, 1080), (4000, 3000)) for n in (1, 10, 100, 300)]
FORMATS = ("onnx", "ncnn", "torchscript")
PARITY_PICTURES = 32
PATIENCE = 900  # seconds


@dataclass(frozen=True)
class Network:
    """A checkpoint at an input size (height, width)."""

    name: str
    checkpoint: Path
    size: tuple[int, int]


@dataclass(frozen=True)
class File:
    """A model file; ``share`` of its weights as float32."""

    engine: str
    precision: str
    path: Path
    share: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, metavar="DIR", required=True)
    parser.add_argument("--labels", type=Path, metavar="LABELS", required=True)
    parser.add_argument("--s-320", type=Path, metavar="CKPT")
    parser.add_argument("--out", type=Path, metavar="DIR", default=FOLDER)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--anyway", action="store_true", help="do not wait for a quiet machine")
    options = parser.parse_args()
    ready = (lambda: None) if options.anyway else wait
    coco = zoo.resolve("coco", "safetensors")
    networks = [Network("n-416", coco, (416, 416)), Network("n-320", coco, (320, 320))]
    if options.s_320:
        networks.append(Network("s-320", options.s_320, (320, 320)))
    try:
        pictures = sorted(p for p in options.pictures.iterdir() if p.suffix in (".jpg", ".png"))
        if not pictures:
            raise OptionError(f"{options.pictures} holds no .jpg or .png to calibrate on")
        with tempfile.TemporaryDirectory() as folder:
            made = {n.name: list(files_of(n, Path(folder) / n.name, pictures)) for n in networks}
            for network in networks:
                record = measure(network, made[network.name], options.rounds, ready)
                write(options.out / f"{network.name}.json", record)
            ready()
            print("== phones: estimate", flush=True)
            plain = {name: ncnn_file(files) for name, files in made.items()}
            write(options.out / PROJECTION, measure_projection(plain))
        write(options.out / POSTPROCESS, measure_postprocess(options.rounds, ready))
        ready()
        print("== predict: measure", flush=True)
        rows = measure_predict(options.pictures, options.rounds)
        write(options.out / PREDICT, dated("predict", rows))
        ready()
        print("== training: measure", flush=True)
        write(options.out / TRAINING, dated("training", measure_training(options.labels)))
    except (MobileYolactError, OSError) as error:
        sys.exit(f"error: {error}")
    print("now: make docs")


def files_of(network: Network, folder: Path, pictures: Sequence[Path]) -> Iterator[File]:
    """All files of a network, those of a format in the order float, int8, small."""
    print(f"== {network.name}: export and quantize", flush=True)
    where, size = network.checkpoint, network.size
    checked = pictures[:PARITY_PICTURES]
    plain = export_artefacts(where, folder / "float", FORMATS, checked, size)
    sets = {
        f"int8 {scope}": quantize_artefacts(
            where, folder / scope, pictures, formats=FORMATS, scope=scope, size=size
        )
        for scope in ("full", "backbone")
    }
    sets["8-bit weights"] = write_small_artefacts(where, folder / "small", pictures, size=size)
    whole = {a.format: a.bytes / a.share for a in sets["int8 full"]}
    for artefact in plain:
        subject = Subject(artefact.format, artefact.files[0])
        share = sum(file.stat().st_size for file in subject.files) / whole[artefact.format]
        yield File(artefact.format, "float", artefact.files[0], share)
        for precision, artefacts in sets.items():
            for a in artefacts:
                if a.format == artefact.format:
                    yield File(a.format, precision, a.files[0], a.share)


def measure(
    network: Network, files: Sequence[File], rounds: int, ready: Callable[[], None]
) -> dict[str, Any]:
    """All files of a network in turn, one thread."""
    ready()
    print(f"== {network.name}: measure", flush=True)
    subjects = [Subject(f"{file.engine} {file.precision}", file.path) for file in files]
    result = run_benchmark(subjects, (1,), Setting(size=PICTURE, instances=INSTANCES), rounds)
    rows = [
        {
            "engine": file.engine,
            "precision": file.precision,
            "share_of_float32": round(file.share, 4),
            **figures(model),
        }
        for file, model in zip(files, result.models, strict=True)
    ]
    about = {"input_size": network.size, "image_size": PICTURE, "instances": INSTANCES}
    return {"name": network.name, **origin(result, rounds), **about, "rows": rows}


def measure_postprocess(rounds: int, ready: Callable[[], None]) -> dict[str, Any]:
    """The embedded model on larger pictures with few and many instances."""
    ready()
    print("== postprocessing: measure", flush=True)
    subject = Subject("coco", zoo.resolve("coco"))
    results = [
        run_benchmark([subject], (1,), Setting(size=s, instances=n), rounds) for s, n in SCENES
    ]
    rows = [
        {
            "image_size": result.size,
            "instances": result.models[0].instances,
            **figures(result.models[0]),
            "decode": result.decode and asdict(result.decode),
            "draw": result.draw and asdict(result.draw),
        }
        for result in results
    ]
    return {"name": "postprocess", **origin(results[0], rounds), "rows": rows}


def ncnn_file(files: Sequence[File]) -> Path:
    return next(f.path for f in files if (f.engine, f.precision) == ("ncnn", "float"))


def figures(model: Measured) -> dict[str, Any]:
    kept = ("file_bytes", "peak_rss_bytes", "stages")
    return {key: value for key, value in model.to_json().items() if key in kept}


def dated(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    date = datetime.now(UTC).date().isoformat()
    return {"name": name, "date": date, "device": asdict(describe_device()), "rows": rows}


def origin(result: Benchmark, rounds: int) -> dict[str, Any]:
    """When and on what it was measured."""
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "rounds": rounds, "device": asdict(result.device)}


def wait() -> None:
    """Until the machine is quiet: what this script itself did counts as load for a minute."""
    began = time.monotonic()
    while (device := describe_device()).busy:
        if time.monotonic() - began > PATIENCE:
            raise MobileYolactError(
                f"the load stays at {device.load}, above {BUSY}; stop what runs"
            )
        print(f"load {device.load}, waiting", flush=True)
        time.sleep(15)


def write(path: Path, record: dict[str, Any]) -> None:
    with write_beside(path) as beside:
        beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
