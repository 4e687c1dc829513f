"""``mobileyolact compare``: is model B better than model A, or is it chance?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobileyolact.cli.measuring import (
    class_names,
    difference_cells,
    measure,
    open_labels,
    table,
    write_json,
)
from mobileyolact.cli.needs import need
from mobileyolact.cli.opening import open_backend_for

if TYPE_CHECKING:
    from mobileyolact.evaluate.average_precision import Kind
    from mobileyolact.evaluate.bootstrap import Difference

_STATISTICS: "dict[Kind, tuple[str, ...]]" = {"mask": ("AP", "AP50"), "box": ("AP",)}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A model: a name, artefact or checkpoint.")],
    b: Annotated[
        str, typer.Argument(metavar="B", help="The other: a name, artefact or checkpoint.")
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
    resamples: Annotated[int, typer.Option(min=1, help="How often pictures are redrawn.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Draws the pictures.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")
    ] = None,
) -> None:
    """Compare the average precision of two models on the same labelled pictures.

    The interval holds 95 % of the differences B - A when the pictures are drawn again with
    replacement, the same ones for both models (paired bootstrap). Where it holds 0, these
    pictures do not tell the models apart.
    """
    need("eval", "'compare'")
    import numpy as np
    from rich.console import Console

    from mobileyolact.evaluate.bootstrap import paired_bootstrap

    dataset = open_labels(data, images)
    chosen = class_names(classes)
    backends = [open_backend_for(model) for model in (a, b)]
    engines = [backend.describe() for backend in backends]
    found_a, found_b = (
        measure(backend, dataset, chosen, title)
        for backend, title in zip(backends, "AB", strict=True)
    )
    differences: dict[str, Difference] = {}
    for kind, statistics in _STATISTICS.items():
        result = paired_bootstrap(
            dataset,
            found_a.detections,
            found_b.detections,
            kind,
            found_a.classes,
            statistics=statistics,
            resamples=resamples,
            generator=np.random.default_rng(seed),  # the same pictures for masks and boxes
        )
        differences |= {f"{kind} {name}": result[name] for name in statistics}
    if json_file is not None:
        about = {"images": len(dataset.records), "resamples": resamples, "seed": seed}
        models = {"a": a, "b": b, "engines": engines}
        figures = {name: _plain(difference) for name, difference in differences.items()}
        write_json(json_file, {**about, **models, "differences": figures})

    rows = table(f"{len(dataset.records)} pictures", "A", "B", "B - A", "95 % interval", "")
    for name, d in differences.items():
        rows.add_row(name, *_cells(d))
    console = Console(highlight=False)
    console.print(rows)
    for letter, model, engine in zip("AB", (a, b), engines, strict=True):
        console.print(f"{letter}: {model}, {engine}", soft_wrap=True, markup=False)
    typer.echo(f"interval: {resamples} resamples of the pictures, seed {seed}")
    for letter, found in (("A", found_a), ("B", found_b)):
        if found.unknown_classes:
            names = ", ".join(found.unknown_classes)
            typer.echo(f"warning: {letter} does not know {names}: counted as missed", err=True)


def _plain(difference: "Difference") -> dict[str, float | None]:
    from dataclasses import asdict

    return {k: None if v != v else v for k, v in asdict(difference).items()}


def _cells(d: "Difference") -> list[str]:
    verdict = "not told apart"
    if d.a != d.a:  # NaN
        verdict = "no instance"
    elif d.certain:
        verdict = "B is better" if d.low > 0 else "A is better"
    return [*difference_cells(d), verdict]
