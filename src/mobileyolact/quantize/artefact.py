"""From a checkpoint to quantized files, which exist only if they passed their checks."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mobileyolact.contract import OUTPUT_NAMES, ModelContract, Quantization
from mobileyolact.errors import OptionError, nearest
from mobileyolact.export import ncnn_int8, ncnn_small, onnx_int8, onnx_small, torchscript_int8  # noqa: F401
from mobileyolact.export.artefact import measure_parity
from mobileyolact.export.faster import faster, faster_int8
from mobileyolact.export.formats import (
    INT8_EXPORTERS,
    SMALL_EXPORTERS,
    Exporter,
    Write,
    WriteInt8,
    get_exporter,
)
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.parity import ParityBounds
from mobileyolact.export.placing import workshop
from mobileyolact.export.quantized import QuantizedLayers
from mobileyolact.labels.dataset import Dataset
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.quantize.agreement import check_agreement
from mobileyolact.quantize.budget import within_loss
from mobileyolact.quantize.calibrate import MOST_PICTURES, evenly, observe
from mobileyolact.quantize.effects import PROXY, LayerEffect, layer_effects, plot
from mobileyolact.quantize.engines import CHECKS, ncnn, on_x86, onnx, torchscript  # noqa: F401
from mobileyolact.quantize.equalize import equalized
from mobileyolact.quantize.judging import Progress
from mobileyolact.quantize.measuring import (
    Draft,
    FloatModel,
    QuantizedArtefact,
    choose_judge,
    measure_and_deliver,
    read_float_model,
)
from mobileyolact.quantize.record import Calibration, record_of
from mobileyolact.quantize.rounding import gather_grams
from mobileyolact.quantize.scope import Scope
from mobileyolact.runtime.image import open_image
from mobileyolact.runtime.preprocess import preprocess

DEPTHWISE = ("auto", "on", "off")
# From a model and its calibrated record to a checkpoint with trained weights.
Train = Callable[[FloatModel, QuantizedLayers], Path]

WEIGHTS_ONLY = Quantization("weights", "rounding")
CHECKED_PICTURES = 2

# Rounding weights to 8 bits left 14 dB and more of trained networks, a kernel in the wrong order
# mostly less than 8. Masks are measured, not bounded: in few pictures one weak instance more or
# less means nothing.
SMALL_BOUNDS = ParityBounds(min_snr_db=10.0, min_mean_mask_iou=0.0, min_matched_fraction=0.0)

W = TypeVar("W", Write, WriteInt8)


def no_progress(what: str, done: int, total: int) -> None:
    """Says nothing."""


def quantize_artefacts(
    checkpoint: Path,
    out_dir: Path,
    pictures: Sequence[Path],
    *,
    formats: Sequence[str] | None = None,
    scope: str = "full",
    depthwise: str = "auto",
    size: tuple[int, int] | None = None,
    labels: Dataset | None = None,
    train: Train | None = None,
    max_loss: float | None = None,
    report: bool = False,
    progress: Progress = no_progress,
) -> list[QuantizedArtefact]:
    """Write a checkpoint as files that compute with integers of 8 bits, and measure them.

    Every layer of every file is compared with its emulation, in the engine itself. Everything is
    made in a temporary folder inside ``out_dir`` and moved at the end: after an error ``out_dir``
    is as it was. Beside each model lies ``NAME.int8.FORMAT.measured.json``.

    Args:
        checkpoint: a ``.safetensors`` file.
        out_dir: made if it is missing.
        pictures: the files that ranges are taken from, as the model will see them; of more than
            ``MOST_PICTURES`` some, evenly spread.
        formats: names in ``INT8_EXPORTERS``; ``None`` means all.
        scope: ``full`` or ``backbone``, which convolutions become integer ones.
        depthwise: ``on``, ``off`` or ``auto``, whether those with one channel a group do in ncnn;
            ``auto`` means not on x86.
        size: (height, width) of the input in pixels; ``None`` is the checkpoint's own.
        labels: to measure average precision on; ``None`` measures how far the masks on
            ``pictures`` are those of the float model.
        train: lets the weights learn to live with the rounding before they are written.
        max_loss: of mask AP, 0..1, in ONNX Runtime; the worst layers stay float until it is kept.
        report: also write the effect of each layer, ``NAME.int8.layers.json`` and ``.svg``.
        progress: told how far the work is.

    Raises:
        OptionError: an unknown format or choice, no picture, or a folder that cannot be made.
        ImageError: a picture that cannot be read.
        LabelError: an object of a class that the model does not know.
        ModelError: not a checkpoint, a layer that is not known, a size that does not fit, or
            NaN or infinity in a tensor.
        ParityError: a layer differs from its emulation; nothing is written.
    """
    exporters = _choose(formats, INT8_EXPORTERS, pictures)
    _check_choice("scope", scope, get_args(Scope))
    _check_choice("choice for depthwise convolutions", depthwise, DEPTHWISE)
    if max_loss is not None and labels is None:
        raise OptionError("a largest loss is one of average precision; give labels with --val")
    model = read_float_model(checkpoint, size, labels)
    with workshop(out_dir) as folder:
        progress("calibrate", 0, 1)
        equal = equalized(model.network, model.contract, pictures, by_sums=train is None)
        model = model.with_network(equal, model.contract)
        observers = observe(model.graph, model.contract, pictures)
        images = _tensors(evenly(pictures, CHECKED_PICTURES), model.contract)
        summary = Quantization(scope, "ptq" if train is None else "qat")
        if train is not None:
            record = record_of(model.graph, Calibration(observers, {}), summary)
            trained = train(model, record)
            model = model.with_network(*load_checkpoint(trained))
        grams = gather_grams(model.graph, model.contract, pictures)
        seen = Calibration(observers, grams)
        contract = dataclasses.replace(model.contract, quantization=summary)
        judge = choose_judge(model, pictures, labels, progress)
        more, kept = list[Path](), list[str]()
        if report or max_loss is not None:
            progress("effect of each layer", 0, 1)
            effects = layer_effects(model.graph, record_of(model.graph, seen, summary), images)
            more = _write_effects(folder, model, scope, effects) if report else []
        if max_loss is not None:

            def loss(names: Sequence[str]) -> float:
                record = record_of(model.graph, seen, summary, names)
                trial = folder / "trial.int8.onnx"
                onnx_int8.write_onnx_int8(model.graph, record, contract, trial)
                found = judge(trial).differences["AP"]
                return found.a - found.b

            kept = within_loss(effects, max_loss, loss)
        drafts = []
        for done, exporter in enumerate(exporters):
            progress(f"write and check {exporter.name}", done, len(exporters))
            left_out = {*kept, *kept_float(model.graph, exporter.name, depthwise)}
            record = record_of(model.graph, seen, summary, left_out)
            graph, record = faster_int8(model.graph, record, exporter.name)
            files = exporter.files(folder, model.stem)
            exporter.write(graph, record, contract, files[0])
            facts = {
                "quantization": dataclasses.asdict(summary),
                "calibration_pictures": min(len(pictures), MOST_PICTURES),
                "integer_convolutions": len(record.convs),
                "kept_float": kept,
                "layers": _check_layers(exporter.name, graph, record, files[0], images),
            }
            drafts.append(Draft(exporter.name, files, facts))
        return measure_and_deliver(
            model, drafts, out_dir, judge, pictures[0], labels, progress, more
        )


def write_small_artefacts(
    checkpoint: Path,
    out_dir: Path,
    pictures: Sequence[Path],
    *,
    formats: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    labels: Dataset | None = None,
    progress: Progress = no_progress,
) -> list[QuantizedArtefact]:
    """Write a checkpoint with weights of 8 bits that are computed in float32, and measure them.

    As ``quantize_artefacts``, but ``formats`` are names in ``SMALL_EXPORTERS`` and the notes are
    ``NAME.small.FORMAT.measured.json``. Nothing is calibrated: ``pictures`` serve to compare.

    Raises:
        ParityError: a file differs from the float model by more than ``SMALL_BOUNDS``.
        MobileYolactError: as ``quantize_artefacts``.
    """
    exporters = _choose(formats, SMALL_EXPORTERS, pictures)
    model = read_float_model(checkpoint, size, labels)
    contract = dataclasses.replace(model.contract, quantization=WEIGHTS_ONLY)
    compared, graph = evenly(pictures, CHECKED_PICTURES), faster(model.graph)
    with workshop(out_dir) as folder:
        drafts = []
        for done, exporter in enumerate(exporters):
            progress(f"write and check {exporter.name}", done, len(exporters))
            files = exporter.files(folder, model.stem)
            exporter.write(graph, contract, files[0])
            report = measure_parity(model.reference, files[0], compared)
            report.check(SMALL_BOUNDS, files[0].name)
            facts = {
                "quantization": dataclasses.asdict(WEIGHTS_ONLY),
                "bounds": dataclasses.asdict(SMALL_BOUNDS),
                "parity": report.to_json(),
            }
            drafts.append(Draft(exporter.name, files, facts))
        judge = choose_judge(model, pictures, labels, progress)
        return measure_and_deliver(model, drafts, out_dir, judge, pictures[0], labels, progress)


def _choose(
    formats: Sequence[str] | None, registry: dict[str, Exporter[W]], pictures: Sequence[Path]
) -> list[Exporter[W]]:
    names = registry if formats is None else dict.fromkeys(formats)
    exporters = [get_exporter(name, registry) for name in names]
    if not exporters or not pictures:
        what = "picture to calibrate and check on" if exporters else "format to write"
        raise OptionError(f"quantization needs at least one {what}")
    return exporters


def _check_choice(what: str, choice: str, choices: Sequence[str]) -> None:
    if choice not in choices:
        hint = nearest(choice, choices)
        raise OptionError(f"there is no {what} '{choice}'{hint} of {', '.join(choices)}")


def kept_float(graph: Graph, format: str, depthwise: str) -> list[str]:
    """Names of depthwise convolutions where ncnn computes them faster, and better, in float."""
    if format != "ncnn" or depthwise == "on" or (depthwise == "auto" and not on_x86()):
        return []
    return [x.name for x in graph.layers if isinstance(x, Conv) and x.groups > 1]


def _write_effects(
    folder: Path, model: FloatModel, scope: str, effects: Sequence[LayerEffect]
) -> list[Path]:
    table = folder / f"{model.stem}.int8.layers.json"
    rows = [dataclasses.asdict(effect) for effect in effects]
    content = {"scope": scope, "proxy": PROXY, "outputs": OUTPUT_NAMES, "layers": rows}
    table.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    drawing = table.with_suffix(".svg")
    drawing.write_text(plot(effects, f"{model.stem}, {scope}: {PROXY}"), encoding="utf-8")
    return [table, drawing]


def _tensors(pictures: Iterable[Path], contract: ModelContract) -> list[NDArray[np.float32]]:
    return [preprocess(open_image(picture), contract)[0] for picture in pictures]


def _check_layers(
    format: str,
    graph: Graph,
    record: QuantizedLayers,
    file: Path,
    images: Sequence[NDArray[np.float32]],
) -> dict[str, Any]:
    """Compare each layer with its emulation and say in sum how well they agree."""
    found = [pair for image in images for pair in CHECKS[format](graph, record, file, image)]
    check_agreement(found, format, file.name)
    layers = [layer for layer, _ in found]
    return {
        "compared": len({layer.layer for layer in layers}),
        "pictures": len(images),
        "codes": sum(layer.codes for layer in layers),
        "differing": sum(layer.differing for layer in layers),
        "largest": max((layer.largest for layer in layers), default=0),
    }
