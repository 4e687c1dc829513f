"""One training run from label files to the best checkpoint: what ``mobileyolact train`` does."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import mobileyolact
from mobileyolact.contract import ClassInfo, ModelContract
from mobileyolact.errors import LabelError
from mobileyolact.evaluate.evaluator import Evaluation, evaluate, evaluation_predictor
from mobileyolact.labels.check import LabelCounts, check_labels
from mobileyolact.labels.dataset import Dataset, match_name, merge
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.presets import get_preset
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import TrainingData
from mobileyolact.train.distil import taught_by
from mobileyolact.train.loop import train
from mobileyolact.train.losses import compute_losses
from mobileyolact.train.processes import joined_processes, local_processes
from mobileyolact.train.start import Start, make_start

_MOST_WORKERS = 8
_MOST_PROBLEMS = 5


def run_training(
    data: Sequence[Path],
    directory: Path,
    *,
    val: Path | None = None,
    images: Path | None = None,
    preset: str = "n-416",
    init: str = "coco",
    teacher: str | None = None,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train on label files and say what is done; going on where an earlier call stopped.

    Args:
        data: label files, merged by class name.
        directory: the run's folder, see ``loop``.
        val: label file of the validation pictures; decides which weights are the best.
        images: the folder of the pictures where they do not lie beside the labels.
        preset: name of the network.
        init: ``coco``, ``imagenet``, ``none`` or a checkpoint's path.
        teacher: ``coco`` or a checkpoint; detections are learnt from it, masks from the labels.
        threads: torch's threads on the CPU during this call; ``None`` leaves its own default.
        options: fields of ``TrainConfig`` to set by hand.
        say: prints a line.

    Raises:
        MobileYolactError: labels, start, options or folder do not allow the run, or it was stopped.
    """
    with joined_processes() as main, _torch_threads(threads):
        if not main:
            say = _say_nothing
        network_preset = get_preset(preset)
        dataset = merge([read_labels(path, images) for path in data])
        counts = [f"data: {_counts(check_labels(dataset))} of {_names(dataset.classes)}"]
        validation = None if val is None else read_labels(val, images)
        if validation is not None:
            counts.append(f"validation: {_counts(check_labels(validation))}")
            _require_common_class(dataset, validation)
        counts += _problems([*dataset.problems, *(validation.problems if validation else ())])
        workers = {"workers": _spare_workers()}
        config = TrainConfig.for_images(len(dataset.records), **{**workers, **(options or {})})
        start = make_start(network_preset, init, dataset.classes, config.seed)
        losses = compute_losses if teacher is None else taught_by(teacher, dataset.classes)
        contract = _with_provenance(start.contract, dataset, data, init)
        for line in [*counts, *describe(start, config, init, directory)]:
            say(line)

        def measure(network: MobileYolact, its_contract: ModelContract) -> Evaluation:
            assert validation is not None
            with evaluation_predictor(TorchBackend(network, its_contract)) as predictor:
                return evaluate(predictor, validation)

        def mask_ap(network: MobileYolact) -> float:
            ap = measure(network, contract).to_json()["mask"]["AP"]
            return float("nan") if ap is None else float(ap)

        result = train(
            start.network,
            TrainingData(dataset, network_preset, config),
            losses,
            config,
            contract,
            directory,
            started=start.started,
            run={
                "preset": preset,
                "init": init,
                "teacher": teacher,
                "data": fingerprint(dataset),
                "val": validation and fingerprint(validation),
            },
            validate=None if validation is None else mask_ap,
        )
        if main and validation is not None:
            backend = TorchBackend.open(result.best)
            found = measure(backend.network, backend.contract).to_json()
            say(f"{val}: {_summary(found)}")
        say(f"best weights: {result.best}")


def describe(start: Start, config: TrainConfig, init: str, directory: Path) -> list[str]:
    """What is going to be trained and from where, one line a topic."""
    millions = sum(p.numel() for p in start.network.parameters()) / 1e6
    name = start.contract.name
    lines = [f"model: {name}, {millions:.2f} M parameters, freeze {config.freeze}"]
    if start.matched:
        lines.append(f"start: {init}, which knows {_listed(start.matched)}")
    else:
        lines.append(f"start: {init}")
    if start.new:
        lines.append(f"new classes: {_listed(start.new)}")
    if start.partial:
        lines.append(f"partly loaded: {_listed(_layers(start.partial))}")
    if start.started and start.random:
        lines.append(f"not loaded: {_listed(_layers(start.random))}")
    lines.append(
        f"run: {config.iterations} iterations of {config.batch_size} pictures, "
        f"seed {config.seed}, into {directory}"
    )
    return lines


def fingerprint(dataset: Dataset) -> str:
    """A short name of a dataset's content, equal wherever its files lie."""
    records = [dataclasses.replace(r, path=Path(r.path.name)) for r in dataset.records]
    digest = hashlib.sha256(repr((dataset.classes, records)).encode()).hexdigest()[:8]
    return f"{dataset.source.name}#{digest}"


def _with_provenance(
    contract: ModelContract, dataset: Dataset, data: Sequence[Path], init: str
) -> ModelContract:
    provenance = {
        "package": f"mobileyolact {mobileyolact.__version__}",
        "start": Path(init).name,
        "data": [path.name for path in data],
        "images": len(dataset.records),
    }
    return dataclasses.replace(contract, provenance=provenance)


def _counts(counts: LabelCounts) -> str:
    return f"{counts.images} pictures with {counts.objects} labels"


def _problems(problems: Sequence[str]) -> list[str]:
    lines = [f"left out: {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"left out: {len(problems) - _MOST_PROBLEMS} more")
    return lines


def _require_common_class(dataset: Dataset, validation: Dataset) -> None:
    if all(match_name(info.name, dataset.classes) is None for info in validation.classes):
        raise LabelError(
            f"{validation.source} has no class of the training labels, but "
            f"{_names(validation.classes)}; give validation labels of the same classes"
        )


def _names(classes: Sequence[ClassInfo]) -> str:
    return f"{len(classes)} classes ({_listed([c.name for c in classes])})"


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _layers(tensors: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))


def _summary(found: dict[str, Any]) -> str:
    def value(kind: str, name: str) -> str:
        number = found[kind][name]
        return "none" if number is None else f"{number:.3f}"

    masks = f"mask AP {value('mask', 'AP')}, AP50 {value('mask', 'AP50')}"
    return f"{masks}, box AP {value('box', 'AP')} on {found['images']} pictures"


def _spare_workers() -> int:
    """Cores that the training itself leaves idle, for each of its processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = 1 if torch.cuda.is_available() else torch.get_num_threads()
    return max(0, min(_MOST_WORKERS, (cores or 1) // local_processes() - used))


@contextmanager
def _torch_threads(threads: int | None) -> Any:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say_nothing(line: str) -> None:
    pass
