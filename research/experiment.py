"""Run rows of experiments.toml: train or quantize, measure, record, write docs/results.md anew.

    python research/experiment.py ROW... --data DIR [--threads N] [--workers N] [--parallel N]
                                  [--device-note TEXT]
    python research/experiment.py --list

ROW is a row, with all its seeds, or one run such as ROW-s0. DIR has the label files, see
docs/results.md. A run's folder is runs/experiments/RUN, its record research/results/RUN.json; a
row that quantizes is its own only run, on as many threads as OMP_NUM_THREADS says.
Stopped, the same command goes on; a run that is done is only measured again.
"""

import argparse
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from int8_rows import measure_files, rounded
from plan import RUNS, Plan, Run, placed, read_plan
from results_page import HERE, PAGE, page

import mobileyolact
from mobileyolact import zoo
from mobileyolact.cli import app
from mobileyolact.errors import MobileYolactError
from mobileyolact.evaluate.evaluator import evaluate, evaluation_predictor
from mobileyolact.files import write_beside
from mobileyolact.labels.formats import read_labels

ROOT = HERE.parent
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, help="of PyTorch, in training")
    parser.add_argument("--workers", type=int, help="processes that prepare batches")
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time, on a GPU")
    parser.add_argument("--device-note", default="", help="what the device's name does not say")
    parser.add_argument("--list", action="store_true", help="print the rows and leave")
    options = parser.parse_args()
    try:
        plan = read_plan(HERE / "experiments.toml")
        if options.list:
            return show(plan)
        if not options.rows or options.data is None:
            parser.error("give at least one ROW, and --data DIR; --list shows the rows")
        runs = [run for name in options.rows for run in plan.find(name)]
        if options.parallel > 1:
            return side_by_side(runs, options)
        for run in runs:
            carry_out(run, options)
    except MobileYolactError as error:
        sys.exit(f"error: {error}")


def show(plan: Plan) -> None:
    """All rows with the seeds that have a record, of those that they should have."""
    for row in plan.rows:
        done = sum(result_path(run).exists() for run in row.runs)
        print(f"{row.name}  {done}/{len(row.runs)}  {row.what}")


def side_by_side(runs: list[Run], options: argparse.Namespace) -> None:
    """Each run as a command of its own that prints to a file beside its folder."""
    words = ["--data", str(options.data), "--device-note", options.device_note]
    for option in ("threads", "workers"):
        if (value := getattr(options, option)) is not None:
            words += [f"--{option}", str(value)]

    def command(run: Run) -> None:
        log = ROOT / RUNS / f"{run.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            arguments = [sys.executable, __file__, run.name, *words]
            code = subprocess.call(arguments, stdout=file, stderr=file)
        last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
        print(last if code == 0 else f"{run.name}: exit code {code}, see {log}", flush=True)

    with ThreadPoolExecutor(options.parallel) as pool:
        list(pool.map(command, runs))


def result_path(run: Run) -> Path:
    return HERE / "results" / f"{run.name}.json"


def carry_out(run: Run, options: argparse.Namespace) -> None:
    print(f"== {run.name}: {run.command}", flush=True)
    machine = []
    if run.row.train and options.threads:
        machine += ["--threads", str(options.threads)]
    if run.row.train and options.workers is not None:
        machine += ["--set", f"workers={options.workers}"]
    if code := app([*run.arguments(options.data, ROOT / RUNS), *machine], standalone_mode=False):
        sys.exit(code)
    result = (record if run.row.train else record_int8)(run, options)
    with write_beside(result_path(run)) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    with write_beside(PAGE) as beside:
        beside.write_text(page(), encoding="utf-8")
    print(f"{run.name}: {summary(run, result)}; {result_path(run)}")


def summary(run: Run, result: dict[str, Any]) -> str:
    if run.row.quantize:
        kept = [f"{name} {facts['ap50_kept']}" for name, facts in result["formats"].items()]
        return f"of mask AP50 kept: {', '.join(kept)}"
    figures = result["evaluation"][run.row.evaluate[0]]
    masks = ", ".join(f"{name} {figures['mask'][name]}" for name in FIGURES[:2])
    return f"mask {masks}; box AP {figures['box']['AP']}"


def origin(run: Run) -> dict[str, Any]:
    """How to come to a record, and when it was made."""
    return {
        "name": run.name,
        "command": run.command,
        "date": datetime.now(UTC).date().isoformat(),
        "package": f"mobileyolact {mobileyolact.__version__}",
    }


def record(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that docs/results.md shows of a run that is done, and how to come to it."""
    from mobileyolact.model.backend import TorchBackend
    from mobileyolact.model.weights import load_checkpoint

    folder = ROOT / RUNS / run.name
    network, contract = load_checkpoint(folder / "best.safetensors")
    evaluation = {}
    for file in run.row.evaluate:
        labels = read_labels(options.data / file)
        with evaluation_predictor(TorchBackend(network, contract)) as predictor:
            evaluation[file] = shortened(evaluate(predictor, labels).to_json())
    training = describe_training(folder)
    trained = {"device": training_device(), "device_note": options.device_note}
    old = json.loads(result_path(run).read_text("utf-8")) if result_path(run).exists() else {}
    # The same training, perhaps on another machine than this.
    if old.get("seconds") == training["seconds"]:
        trained = {key: old[key] for key in trained}
    return {
        **origin(run),
        "seed": run.seed,
        **training,
        "parameters": sum(p.numel() for p in network.parameters()),
        **trained,
        "evaluation": evaluation,
    }


def record_int8(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """As ``record``, of files in several formats."""
    folder, quantize = ROOT / RUNS / run.name, run.row.quantize
    checkpoint = zoo.resolve(
        placed(quantize["checkpoint"], options.data, ROOT / RUNS), "safetensors"
    )
    trained = folder / f"{checkpoint.stem}.qat"
    labels = {file: options.data / file for file in run.row.evaluate}
    return {
        **origin(run),
        "training": describe_training(trained) if quantize.get("qat") else None,
        "device": processor(),
        "device_note": options.device_note,
        "formats": measure_files(folder, checkpoint, labels),
    }


def shortened(content: dict[str, Any]) -> dict[str, Any]:
    """Figures of four digits; of the classes persons alone."""
    short = {key: content[key] for key in ("images", "matched")}
    short["mean_matched_iou"] = rounded(content["mean_matched_iou"])
    for kind in ("mask", "box"):
        short[kind] = {name: rounded(content[kind][name]) for name in FIGURES}
        person = content[kind]["per_class"].get("person")
        short[kind]["per_class"] = (
            {"person": {k: rounded(v) for k, v in person.items()}} if person else {}
        )
    return short


def describe_training(folder: Path) -> dict[str, Any]:
    """On what and how long; seconds are the clock's, whatever stops lay between iterations."""
    from mobileyolact.model.weights import read_checkpoint
    from mobileyolact.train.checkpoint import read_state

    state = read_state(folder / "last.safetensors")
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    paces = [json.loads(line).get("images_per_second") for line in lines]
    return {
        "data": state.run["data"],
        "images": read_checkpoint(folder / "best.safetensors")[1].provenance["images"],
        "iterations": state.config.iterations,
        "batch_size": state.config.batch_size,
        "seconds": round(sum(state.config.batch_size / pace for pace in paces if pace)),
    }


def training_device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()


def processor() -> str:
    """The processor's name, as Linux tells it or else as Python does."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
