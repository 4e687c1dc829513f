"""What the last bits of a picture do to the average precision of int8 files: rows measured again.

    python research/int8_chance.py ROW... --data DIR [--passes N]

Each pass multiplies what the network reads by another number within a few millionths of 1, as far
as processors differ from one another. Float files do not mind. In an int8 file a few codes come out
otherwise and change those behind them, until the rounding is another one altogether, no better and
no worse: the mean over passes is what the file is worth, and their spread what chance does. ROW was
carried out by experiment.py; its record gets the share of AP50 kept in each pass, by format.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from experiment import ROOT, result_path
from int8_rows import ap50_kept
from numpy.typing import NDArray
from plan import RUNS, Run, placed, read_plan
from results_page import HERE, PAGE, page

from mobileyolact import zoo
from mobileyolact.evaluate.evaluator import evaluate, evaluation_predictor
from mobileyolact.files import write_beside
from mobileyolact.labels.dataset import Dataset
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.backend import TorchBackend
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.base import Backend, RawOutputs

NEXT = 2.0**-20


class Brighter:
    """A backend that reads everything a little larger."""

    def __init__(self, backend: Backend, factor: float) -> None:
        self.contract, self.describe = backend.contract, backend.describe
        self.close = backend.close
        self._backend, self._factor = backend, np.float32(factor)

    def run(self, tensor: NDArray[np.float32]) -> RawOutputs:
        return self._backend.run(tensor * self._factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", metavar="ROW")
    parser.add_argument("--data", type=Path, metavar="DIR", required=True)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    plan = read_plan(HERE / "experiments.toml")
    for name in options.rows:
        for run in plan.find(name):
            measure(run, options.data, options.passes)


def measure(run: Run, data: Path, passes: int) -> None:
    labels = [read_labels(data / file) for file in run.row.evaluate]
    checkpoint = zoo.resolve(
        placed(run.row.quantize["checkpoint"], data, ROOT / RUNS), "safetensors"
    )
    before = [ap50(TorchBackend.open(checkpoint), dataset) for dataset in labels]
    result = json.loads(result_path(run).read_text(encoding="utf-8"))
    for path in sorted((ROOT / RUNS / run.name).glob("*.int8.*.measured.json")):
        note = json.loads(path.read_text(encoding="utf-8"))
        model = path.with_name(next(iter(note["bytes"])))
        kept = [
            kept_of(before, [ap50(brighter(model, i), dataset) for dataset in labels])
            for i in range(passes)
        ]
        result["formats"][note["format"]]["ap50_kept_in_passes"] = kept
        print(f"{run.name} {note['format']}: {kept}", flush=True)
    with write_beside(result_path(run)) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    with write_beside(PAGE) as beside:
        beside.write_text(page(), encoding="utf-8")


def brighter(model: Path, step: int) -> Brighter:
    return Brighter(open_backend(model, None, 1), 1 + step * NEXT)


def ap50(backend: Backend, dataset: Dataset) -> float:
    with evaluation_predictor(backend) as predictor:
        return evaluate(predictor, dataset).mask.AP50


def kept_of(before: list[float], after: list[float]) -> float | None:
    """As ``ap50_kept`` of figures by label file."""
    judged: dict[str, Any] = {
        str(i): {"AP50": {"float": float_, "quantized": quantized}}
        for i, (float_, quantized) in enumerate(zip(before, after, strict=True))
    }
    return ap50_kept(judged)


if __name__ == "__main__":
    main()
