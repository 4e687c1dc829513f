"""Training with int8 in the loop: the weights learn to live with their rounding.

Steps of tensors stay those of calibration. The result is an ordinary checkpoint, which is
quantized with the same ranges.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileyolact import zoo
from mobileyolact.contract import ModelContract
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.labels.dataset import CLASS_AGNOSTIC, Dataset, Label, match_name
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.network import MobileYolact
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.quantize.fake import FakeQuantized
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.distil import taught_by
from mobileyolact.train.loop import TrainResult
from mobileyolact.train.material import read_material
from mobileyolact.train.run import (
    carry_out,
    describe_run,
    losses_for,
    spare_workers,
    training_process,
    with_provenance,
)
from mobileyolact.train.teacher import Teacher

BATCH_SIZE = 8
RATE = 2e-5
_EPOCHS = 5
_FEWEST, _MOST = 200, 1000  # iterations

# The forward pass is that of a graph: of one input size, without batch statistics or the modules
# whose features a teacher could teach; and bfloat16 is too coarse for codes.
_FIXED: Mapping[str, Any] = {
    "multi_scale": 0.0,
    "frozen_batch_norm": True,
    "teacher_feature_weight": 0.0,
    "precision": "float32",
}


def run_qat(
    checkpoint: str,
    record: QuantizedLayers,
    data: Sequence[Path],
    directory: Path,
    *,
    val: Path | None = None,
    images: Path | None = None,
    unlabelled: Sequence[Path] = (),
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> TrainResult:
    """Train a checkpoint for int8 and say what is done; going on where an earlier call stopped.

    What it says of the pictures before quantization is taught; labels are not, since few of them
    pull it away from what it has learnt from many. A network with anchors cannot teach: it learns
    from labels alone, and YOLACT's semantic segmentation, which no int8 file has, rests.

    Args:
        checkpoint: the float start, ``coco`` or a path.
        record: its calibrated quantization; the kernels in it are not used.
        data: label files, of whose labels networks with anchors have to know all classes.
        directory: the run's folder, see ``train.loop``.
        val: label file of the validation pictures; the int8 accuracy on them, emulated, decides
            which weights are the best.
        images: the folder of the pictures where they do not lie beside the labels.
        unlabelled: folders of more pictures, for networks without anchors.
        threads: torch's threads on the CPU during this call; ``None`` leaves its own default.
        options: fields of ``TrainConfig`` to set by hand.
        say: prints a line.

    Returns:
        The best weights, to be quantized with the ranges of ``record``.

    Raises:
        MobileYolactError: labels, checkpoint, options or folder do not allow the run, or it was
            stopped.
    """
    with training_process(threads, say) as say:
        network, contract = load_checkpoint(zoo.resolve(checkpoint, "safetensors"))
        preset, classes = network.preset, contract.classes
        teacher = None if preset.anchor_ratios else Teacher.load(checkpoint)
        if unlabelled and teacher is None:
            raise OptionError(
                f"preset {preset.name} cannot be its own teacher, so pictures without labels "
                "teach it nothing; give labels"
            )
        material = read_material(data, val, images, unlabelled, classes)
        if teacher is None:
            dataset = of_classes(material.dataset, contract)
        else:
            dataset = without_labels(material.dataset, contract)
        material = dataclasses.replace(material, dataset=dataset)
        config = qat_config(len(dataset.records), options or {})
        model = FakeQuantized(network, contract, record)
        scope = record.summary.scope
        made = with_provenance(contract, dataset, data, checkpoint, None)
        for line in [
            *material.lines,
            f"model: {contract.name}, {scope} in int8, "
            f"{len(record.convs)} of {len(model.origins)} convolutions",
            *describe_run(config, directory, teacher),
        ]:
            say(line)

        def open_quantized(network: MobileYolact, contract: ModelContract) -> TorchBackend:
            return TorchBackend(FakeQuantized(network, contract, record), contract)

        return carry_out(
            network,
            material,
            losses_for(preset) if teacher is None else taught_by(teacher, network),
            config,
            dataclasses.replace(made, provenance={**made.provenance, "int8": scope}),
            directory,
            say,
            started=frozenset(network.state_dict()),
            run={"preset": contract.name, "init": checkpoint, "int8": fingerprint(record)},
            model=model,
            open_network=open_quantized,
        )


def qat_config(images: int, options: Mapping[str, Any]) -> TrainConfig:
    """The defaults for ``images`` pictures, with some fields set by hand.

    All layers learn at one low rate and without weight decay, since they start where they belong.

    Raises:
        OptionError: an unknown field, a wrong value, or one that training for int8 cannot have.
    """
    for name, value in _FIXED.items():
        if options.get(name, value) != value:
            raise OptionError(
                f"training for int8 needs {name} {value}, not {options[name]}; leave it out"
            )
    iterations = min(_MOST, max(_FEWEST, math.ceil(images * _EPOCHS / BATCH_SIZE)))
    values: dict[str, Any] = {
        "iterations": iterations,
        "batch_size": BATCH_SIZE,
        "rate_new": RATE,
        "weight_decay": 0.0,
        "zoom": TrainConfig.zoom,  # also for few pictures: their sizes were learnt before
        "workers": spare_workers(),
        **_FIXED,
        **options,
    }
    return TrainConfig.for_images(images, **{"rate_started": values["rate_new"], **values})


def of_classes(dataset: Dataset, contract: ModelContract) -> Dataset:
    """``dataset`` with the classes of ``contract`` in their order; those it lacks are unlabelled.

    Raises:
        LabelError: an object is labelled with a class that the model does not know.
    """
    places = {info.index: match_name(info.name, contract.classes) for info in dataset.classes}

    def place(label: Label) -> Label:
        index = CLASS_AGNOSTIC
        if label.class_index != CLASS_AGNOSTIC:
            found = places[label.class_index]
            if found is None:
                raise LabelError(
                    f"{dataset.source} has objects of the class "
                    f"'{dataset.classes[label.class_index].name}', which the model "
                    f"{contract.name} does not know; train for int8 on labels of its own classes"
                )
            index = found
        return dataclasses.replace(label, class_index=index)

    records = []
    for record in dataset.records:
        complete = places.keys() if record.exhaustive is None else record.exhaustive
        known = frozenset(p for i in complete if (p := places[i]) is not None)
        labels = tuple(place(label) for label in record.labels)
        records.append(dataclasses.replace(record, labels=labels, exhaustive=known))
    return dataclasses.replace(dataset, classes=contract.classes, records=tuple(records))


def without_labels(dataset: Dataset, contract: ModelContract) -> Dataset:
    """The pictures of ``dataset``, of which nothing is known but the classes of ``contract``."""
    bare = [dataclasses.replace(r, labels=(), exhaustive=frozenset()) for r in dataset.records]
    return dataclasses.replace(dataset, classes=contract.classes, records=tuple(bare))


def fingerprint(record: QuantizedLayers) -> str:
    """A short name of what ``record`` says of a network besides its kernels."""
    said = (record.summary.scope, sorted(record.convs), sorted(record.tensors.items()))
    return hashlib.sha256(repr(said).encode()).hexdigest()[:8]
