"""What quantization costs: average precision where there are labels, agreement where not."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobileyolact.contract import ModelContract
from mobileyolact.errors import LabelError
from mobileyolact.evaluate.bootstrap import Difference, paired_bootstrap
from mobileyolact.evaluate.evaluator import Evaluation, evaluate, evaluation_predictor
from mobileyolact.export.artefact import measure_parity
from mobileyolact.export.parity import ParityReport
from mobileyolact.labels.dataset import Dataset, match_name
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.base import Backend

STATISTICS = ("AP", "AP50")
RESAMPLES = 1000

# Called with what is being done, how far, and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Judgement:
    """What a file lost: figures where there are labels, else how it agrees with the float model.

    ``differences`` has average precision of masks by name, the float model as A, the file as B.
    """

    differences: Mapping[str, Difference] = field(default_factory=dict)
    agreement: ParityReport | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object of what there is; ``None`` where there is no instance to judge by."""
        if self.agreement is not None:
            return self.agreement.to_json()
        names = {"a": "float", "b": "quantized"}
        return {
            name: {
                names.get(key, key): None if math.isnan(value) else value
                for key, value in asdict(difference).items()
            }
            for name, difference in self.differences.items()
        }


Judge = Callable[[Path], Judgement]


def check_classes(dataset: Dataset, contract: ModelContract) -> None:
    """Raise LabelError if an object is labelled with a class that the model does not know.

    It would count as missed by the float and the quantized model, and hide their difference.
    """
    known = {match_name(info.name, dataset.classes) for info in contract.classes}
    labelled = {label.class_index for record in dataset.records for label in record.labels}
    if missing := sorted(labelled - known):
        raise LabelError(
            f"the model '{contract.name}' does not know the class "
            f"'{dataset.classes[missing[0]].name}' of {dataset.source}; "
            "give labels of the model's own classes with --val"
        )


def judge_by_labels(reference: Backend, dataset: Dataset, progress: Progress) -> Judge:
    """A judge of model files by the average precision of their masks against the float model's.

    The float model ``reference`` runs over all pictures now.
    """

    def run(backend: Backend, what: str) -> Evaluation:
        total = len(dataset.records)
        with evaluation_predictor(backend) as predictor:
            return evaluate(predictor, dataset, None, lambda done: progress(what, done, total))

    before = run(reference, "evaluate float")

    def judge(path: Path) -> Judgement:
        after = run(open_backend(path, None, 1), f"evaluate {path.name}")
        differences = paired_bootstrap(
            dataset,
            before.detections,
            after.detections,
            "mask",
            before.classes,
            statistics=STATISTICS,
            resamples=RESAMPLES,
            generator=np.random.default_rng(0),  # the same pictures for every model
        )
        return Judgement(differences)

    return judge


def judge_by_agreement(reference: Backend, pictures: Sequence[Path]) -> Judge:
    """A judge of model files by how far their masks are those of the float model."""
    return lambda path: Judgement(agreement=measure_parity(reference, path, pictures))
