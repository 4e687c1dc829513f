"""``mobileyolact quantize``: a checkpoint becomes files with 8-bit weights, and what that costs."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobileyolact import zoo
from mobileyolact.cli.calibration import open_calibration
from mobileyolact.cli.measuring import open_labels
from mobileyolact.cli.needs import need
from mobileyolact.errors import LabelError, OptionError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mobileyolact.export.quantized import QuantizedLayers
    from mobileyolact.labels.dataset import Dataset
    from mobileyolact.quantize.artefact import Train
    from mobileyolact.quantize.measuring import FloatModel

# Of labels that nobody asked to be judged on, more pictures would only take longer.
MOST_JUDGED = 500

INSTEAD_OF_INT8 = "for small files at float speed use --weights int8"
INSTEAD_OF_SMALL = "'mobileyolact export' writes float files"


def quantize(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CKPT", help="A .safetensors checkpoint, or a name (see 'models')."),
    ],
    calibration: Annotated[
        Path,
        typer.Option(
            "--calibration",
            metavar="DIR|LABELS",
            help="Pictures like those that the model will see; 128 of them are used.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to.")
    ] = Path(),
    val: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Labels to measure average precision on (COCO JSON)."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of labelled pictures, if not beside the labels."
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="LIST",
            help="Of onnx, ncnn and torchscript, separated by commas; by default all.",
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(metavar="full|backbone", help="What becomes int8; by default full."),
    ] = None,
    depthwise: Annotated[
        str | None,
        typer.Option(
            "--int8-depthwise",
            metavar="auto|on|off",
            help="Depthwise convolutions of ncnn files; auto, the default: off on x86, on on Arm.",
        ),
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="Train with the rounding first, on --data.")
    ] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="LABELS", help="COCO JSON: the pictures of --qat; repeatable."),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            min=0.0,
            max=1.0,
            metavar="AP",
            help="Keep the worst layers in float until mask AP loses no more, for example 0.005.",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write the effect of each layer, table and plot.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="int8", help="8 bits in the file alone: small, computed in float, no int8."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=64, max=4096, metavar="N", help="Input of N x N pixels, a multiple of 32."
        ),
    ] = None,
) -> None:
    """Write a checkpoint as int8 ONNX, ncnn and TorchScript, and measure what that costs.

    Each file is written only if every layer gives the very codes that it should. Size, time and
    average precision of masks, with the interval that chance in the pictures allows, stand beside
    those of the float model.
    """
    need("export", "'quantize'")
    _check_options(qat, data, weights, scope, depthwise, max_loss, report)
    path = zoo.resolve(checkpoint, "safetensors")
    pictures, found = open_calibration(calibration, images)
    labels = _labels(path, val, images, found)

    from rich.console import Console
    from rich.progress import Progress

    from mobileyolact.cli.quantize_tables import show
    from mobileyolact.quantize.artefact import quantize_artefacts, write_small_artefacts
    from mobileyolact.stopping import TrainingStopped

    common: dict[str, Any] = {
        "formats": formats and [name.strip() for name in formats.split(",") if name.strip()],
        "size": (size, size) if size else None,
        "labels": labels,
    }
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("quantize", total=None)
        common["progress"] = lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )
        if weights:
            artefacts = write_small_artefacts(path, output, pictures, **common)
        else:
            try:
                artefacts = quantize_artefacts(
                    path,
                    output,
                    pictures,
                    **common,
                    scope=scope or "full",
                    depthwise=depthwise or "auto",
                    max_loss=max_loss,
                    report=report,
                    train=_training(output, data, images, bar) if data else None,
                )
            except TrainingStopped as stopped:
                typer.echo(str(stopped), err=True)
                raise typer.Exit(stopped.exit_code) from None
    show(artefacts, labels, INSTEAD_OF_SMALL if weights else INSTEAD_OF_INT8)


def _check_options(
    qat: bool,
    data: list[Path] | None,
    weights: str | None,
    scope: str | None,
    depthwise: str | None,
    max_loss: float | None,
    report: bool,
) -> None:
    """Options that need or exclude each other."""
    if weights not in (None, "int8"):
        raise OptionError(f"--weights knows int8 alone, not '{weights}'")
    given = {
        "--qat": qat or None,
        "--scope": scope,
        "--int8-depthwise": depthwise,
        "--max-loss": max_loss,
        "--report": report or None,
    }
    excluded = [name for name, value in given.items() if value is not None]
    if weights and excluded:
        raise OptionError(
            f"--weights int8 leaves the arithmetic in float, so {excluded[0]} says nothing; "
            "leave one of them out"
        )
    if qat and not data:
        raise OptionError("--qat trains on labels; name them with --data LABELS")
    if data and not qat:
        raise OptionError("--data is what --qat trains on; add --qat or leave --data out")
    if qat:
        need("train", "--qat")


def _labels(
    path: Path, val: Path | None, images: Path | None, found: "Dataset | None"
) -> "Dataset | None":
    """What average precision is measured on: ``val``, else what was found; says so."""
    from mobileyolact.model.weights import read_checkpoint
    from mobileyolact.quantize.judging import check_classes

    if val is not None:
        need("eval", "--val")
        return open_labels(val, images)
    advice = "for average precision, give --val LABELS"
    if found is None:
        typer.echo(f"no labels: masks are compared with those of the float model; {advice}")
        return None
    try:
        need("eval", "average precision")
        check_classes(found, read_checkpoint(path)[1])
    except (LabelError, OptionError) as error:
        typer.echo(f"note: {error}; masks are compared with those of the float model", err=True)
        return None
    count = len(found.records)
    used = min(count, MOST_JUDGED)
    some = f"{used} of {count}" if used < count else f"{count}"
    typer.echo(f"average precision on {some} pictures of {found.source}; --val names others")
    records = tuple(found.records[i * count // used] for i in range(used))
    return dataclasses.replace(found, records=records)


def _training(output: Path, data: list[Path], images: Path | None, bar: "Progress") -> "Train":
    """Training with rounding in a folder beside the results, where a second call goes on."""
    from mobileyolact.model.weights import save_checkpoint
    from mobileyolact.quantize.qat import run_qat

    def train(model: "FloatModel", record: "QuantizedLayers") -> Path:
        folder = output / f"{model.stem}.qat"
        folder.mkdir(parents=True, exist_ok=True)
        start = folder / "start.safetensors"
        save_checkpoint(start, model.network, model.contract)
        bar.stop()  # training shows its own
        # Not validated on --val, which is to judge what comes out.
        best = run_qat(str(start), record, data, folder, images=images).best
        bar.start()
        return best

    return train
