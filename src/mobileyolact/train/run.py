"""One training run from label files to the best checkpoint: what ``mobileyolact train`` does."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mobileyolact
from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.evaluate.evaluator import evaluate, evaluation_predictor
from mobileyolact.labels.dataset import Dataset
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.presets import Preset, get_preset
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.train import losses, yolact_losses
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import TrainingData
from mobileyolact.train.distil import taught_by
from mobileyolact.train.loop import Losses, TrainResult, train
from mobileyolact.train.material import Material, listed, read_material
from mobileyolact.train.pictures import OpenNetwork, TrainingPictures
from mobileyolact.train.processes import joined_processes, local_processes, rank_and_world
from mobileyolact.train.start import Start, default_start, make_start
from mobileyolact.train.teacher import Teacher

_MOST_WORKERS = 8


def run_training(
    data: Sequence[Path],
    directory: Path,
    *,
    val: Path | None = None,
    images: Path | None = None,
    preset: str = "n-416",
    init: str | None = None,
    teacher: str | None = None,
    unlabelled: Sequence[Path] = (),
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
        init: ``coco``, ``imagenet``, ``none`` or a checkpoint's path; by default ``coco`` where
            the preset has that start.
        teacher: ``coco`` or a checkpoint; detections are learnt from it, masks from the labels
            and, where there are none, from it too.
        unlabelled: folders of more pictures, which a teacher alone says something about.
        threads: torch's threads on the CPU during this call; ``None`` leaves its own default.
        options: fields of ``TrainConfig`` to set by hand.
        say: prints a line.

    Raises:
        MobileYolactError: labels, start, options or folder do not allow the run, or it was stopped.
    """
    with training_process(threads, say) as say:
        network_preset = get_preset(preset)
        init = init or default_start(network_preset)
        master = None if teacher is None else Teacher.load(teacher)
        known = None if master is None else master.contract.classes
        material = read_material(data, val, images, unlabelled, known)
        dataset = material.dataset
        defaults: dict[str, Any] = {"workers": spare_workers()}
        if master is not None:
            master = master.of(dataset.classes, network_preset)
            # With the teacher's own backbone its detections hold the features well enough.
            new = master.network.preset.backbone != network_preset.backbone
            defaults["teacher_feature_weight"] = float(new)
        config = TrainConfig.for_images(len(dataset.records), **{**defaults, **(options or {})})
        if config.multi_scale and network_preset.anchor_ratios:
            raise OptionError(
                f"preset {preset} has anchors for one input size; leave out multi_scale"
            )
        start = make_start(network_preset, init, dataset.classes, config.seed)
        terms = losses_for(network_preset) if master is None else taught_by(master, start.network)
        start_lines = describe_start(start, config, init)
        for line in [*material.lines, *start_lines, *describe_run(config, directory, master)]:
            say(line)
        carry_out(
            start.network,
            material,
            terms,
            config,
            with_provenance(start.contract, dataset, data, init, teacher),
            directory,
            say,
            started=start.started,
            run={"preset": preset, "init": init, "teacher": teacher},
        )


def carry_out(
    network: MobileYolact,
    material: Material,
    terms: Losses,
    config: TrainConfig,
    contract: ModelContract,
    directory: Path,
    say: Callable[[str], None],
    *,
    started: frozenset[str],
    run: Mapping[str, Any],
    model: nn.Module | None = None,
    open_network: OpenNetwork = TorchBackend,
) -> TrainResult:
    """Train ``network`` on ``material`` and say what its best weights reach.

    Args:
        terms: the losses.
        model: computes the outputs of ``network`` in training.
        open_network: makes of a network and its contract what is validated.

    The other arguments, and errors, are those of ``loop.train``; the data is added to ``run``.
    """
    dataset, validation = material.dataset, material.validation

    def measure(network: MobileYolact, contract: ModelContract) -> dict[str, Any]:
        assert validation is not None
        with evaluation_predictor(open_network(network, contract)) as predictor:
            return evaluate(predictor, validation).to_json()

    def mask_ap(network: MobileYolact) -> float:
        ap = measure(network, contract)["mask"]["AP"]
        return float("nan") if ap is None else float(ap)

    records = () if validation is None else validation.records
    preset = dataclasses.replace(network.preset, input_size=contract.input_size)
    result = train(
        network,
        TrainingData(dataset, preset, config),
        terms,
        config,
        contract,
        directory,
        started=started,
        run={
            **run,
            "data": fingerprint(dataset),
            "val": validation and fingerprint(validation),
        },
        model=model,
        validate=None if validation is None else mask_ap,
        show=TrainingPictures(contract, records, open_network),
    )
    if validation is not None and rank_and_world()[0] == 0:
        found = measure(*load_checkpoint(result.best))
        say(f"{validation.source}: {_summary(found)}")
    say(f"best weights: {result.best}")
    return result


def losses_for(preset: Preset) -> Losses:
    """The losses of the networks of ``preset``."""
    return yolact_losses.compute_losses if preset.anchor_ratios else losses.compute_losses


def describe_start(start: Start, config: TrainConfig, init: str) -> list[str]:
    """What is going to be trained and from where, one line a topic."""
    millions = sum(p.numel() for p in start.network.parameters()) / 1e6
    name = start.contract.name
    lines = [f"model: {name}, {millions:.2f} M parameters, freeze {config.freeze}"]
    knows = f", which knows {listed(start.matched)}" if start.matched else ""
    backbone = ", backbone from ImageNet" if start.imagenet and init != "imagenet" else ""
    lines.append(f"start: {init}{knows}{backbone}")
    if start.new:
        lines.append(f"new classes: {listed(start.new)}")
    if start.partial:
        lines.append(f"partly loaded: {listed(_layers(start.partial))}")
    if start.started and start.random:
        lines.append(f"not loaded: {listed(_layers(start.random))}")
    return lines


def describe_run(config: TrainConfig, directory: Path, teacher: Teacher | None = None) -> list[str]:
    """What teaches, how long, and where it goes, one line a topic."""
    lines = []
    if teacher is not None:
        weights = (config.teacher_weight, config.teacher_mask_weight, config.teacher_feature_weight)
        parts = zip(("detections", "masks", "features"), weights, strict=True)
        taught = ", ".join(f"{part} ({weight:g})" for part, weight in parts if weight)
        lines.append(f"teacher: {teacher.contract.name}, of its {taught or 'nothing'}")
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


def with_provenance(
    contract: ModelContract,
    dataset: Dataset,
    data: Sequence[Path],
    init: str,
    teacher: str | None,
) -> ModelContract:
    """``contract`` with what its network is trained from: start, labels, teacher."""
    provenance = {
        "package": f"mobileyolact {mobileyolact.__version__}",
        "start": Path(init).name,
        "data": [path.name for path in data],
        "images": len(dataset.records),
        **({} if teacher is None else {"teacher": Path(teacher).name}),
    }
    return dataclasses.replace(contract, provenance=provenance)


def _layers(tensors: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))


def _summary(found: dict[str, Any]) -> str:
    def value(kind: str, name: str) -> str:
        number = found[kind][name]
        return "none" if number is None else f"{number:.3f}"

    masks = f"mask AP {value('mask', 'AP')}, AP50 {value('mask', 'AP50')}"
    return f"{masks}, box AP {value('box', 'AP')} on {found['images']} pictures"


def spare_workers() -> int:
    """Cores that the training itself leaves idle, for each of its processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = 1 if torch.cuda.is_available() else torch.get_num_threads()
    return max(0, min(_MOST_WORKERS, (cores or 1) // local_processes() - used))


@contextmanager
def training_process(
    threads: int | None, say: Callable[[str], None]
) -> Iterator[Callable[[str], None]]:
    """Join the processes of this run, with so many of torch's threads on the CPU.

    Yields ``say``, or what says nothing in all processes but the first.
    """
    before = torch.get_num_threads()
    with joined_processes() as main:
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield say if main else _say_nothing
        finally:
            torch.set_num_threads(before)


def _say_nothing(line: str) -> None:
    pass
