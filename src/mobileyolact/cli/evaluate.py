"""``mobileyolact evaluate``: average precision of a model on labelled pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobileyolact.cli.measuring import class_names, figure, measure, open_labels, table, write_json
from mobileyolact.cli.needs import need
from mobileyolact.cli.opening import open_backend_for

if TYPE_CHECKING:
    from rich.table import Table

# Of so many classes each gets a row; the JSON has all.
TABLE_CLASSES = 20

_COLUMNS = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "small": "APs",
    "medium": "APm",
    "large": "APl",
}


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name (see 'models'), artefact or checkpoint.")
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="LABELS", help="Labels of the pictures (COCO JSON).")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of the pictures, if not beside the labels."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Judge these classes alone, separated by commas."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="onnxruntime, ncnn, torchscript, or torch for a checkpoint."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")
    ] = None,
) -> None:
    """Measure the average precision of masks and boxes as COCO defines it.

    Classes are matched by name; a labelled class that the model does not know counts with 0.
    """
    need("eval", "'evaluate'")
    from rich.console import Console

    dataset = open_labels(data, images)
    opened = open_backend_for(model, backend, threads)
    engine = opened.describe()
    result = measure(opened, dataset, class_names(classes))
    figures = result.to_json()
    if json_file is not None:
        write_json(json_file, figures)
    console = Console(highlight=False)
    console.print(_totals(figures))
    if len(figures["mask"]["per_class"]) <= TABLE_CLASSES:
        console.print()
        console.print(_by_class(figures))
    console.print(f"\n{_matched(figures)}\n{engine}", soft_wrap=True, markup=False)
    if figures["unknown_classes"]:
        names = ", ".join(figures["unknown_classes"])
        typer.echo(f"warning: the model does not know {names}: counted as missed", err=True)


def _totals(figures: dict[str, Any]) -> "Table":
    rows = table(f"{figures['images']} pictures", *_COLUMNS)
    for kind in ("mask", "box"):
        rows.add_row(kind, *(figure(figures[kind][key]) for key in _COLUMNS.values()))
    return rows


def _by_class(figures: dict[str, Any]) -> "Table":
    from rich.markup import escape

    rows = table("class", "instances", "mask AP", "mask AP50", "box AP", "box AP50")
    for name, mask in figures["mask"]["per_class"].items():
        box = figures["box"]["per_class"][name]
        values = (mask["AP"], mask["AP50"], box["AP"], box["AP50"])
        rows.add_row(escape(name), str(box["instances"]), *(figure(value) for value in values))
    return rows


def _matched(figures: dict[str, Any]) -> str:
    if not figures["matched"]:
        return "no mask could be compared: no box above a score of 0.3 is right"
    iou = figures["mean_matched_iou"]
    return f"mean IoU {iou:.3f} of the {figures['matched']} masks whose boxes are right"
