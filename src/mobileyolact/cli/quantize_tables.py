"""What ``quantize`` says at its end: files, sizes and times, and what it cost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from mobileyolact.cli.measuring import difference_cells, figure, table
from mobileyolact.cli.parity_table import note_without_instances

if TYPE_CHECKING:
    from rich.table import Table

    from mobileyolact.labels.dataset import Dataset
    from mobileyolact.quantize.measuring import QuantizedArtefact

# Times of one and the same file differ by less.
SLOWER = 1.03


def show(artefacts: "Sequence[QuantizedArtefact]", labels: "Dataset | None", instead: str) -> None:
    """Print tables of all artefacts, and one line for each that is slower than float.

    Args:
        artefacts: at least one.
        labels: what average precision was measured on, if it was.
        instead: what to use where a file is slower.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if labels is not None:
        console.print(_precision(artefacts, len(labels.records)))
    else:
        console.print(_agreement(artefacts))
    console.print()
    console.print(_files(artefacts))
    for artefact in artefacts:
        for file in artefact.files:
            console.print(str(file), soft_wrap=True, markup=False)
    report = artefacts[0].judgement.agreement
    if report is not None and (note := note_without_instances(report)):
        typer.echo(note, err=True)
    for artefact in artefacts:
        ratio = artefact.ms / artefact.float_ms
        if ratio > SLOWER:
            typer.echo(
                f"note: on this processor {artefact.files[0].name} takes {ratio:.2f} times as long "
                f"as the float model in the same engine; {instead}",
                err=True,
            )


def _precision(artefacts: "Sequence[QuantizedArtefact]", pictures: int) -> "Table":
    rows = table(f"{pictures} pictures", "", "float", "8 bits", "change", "95 % interval")
    for artefact in artefacts:
        for name, difference in artefact.judgement.differences.items():
            rows.add_row(artefact.format, f"mask {name}", *difference_cells(difference))
    return rows


def _agreement(artefacts: "Sequence[QuantizedArtefact]") -> "Table":
    rows = table("", "pictures", "instances", "matched", "mask IoU, mean", "lowest")
    for artefact in artefacts:
        report = artefact.judgement.agreement
        assert report is not None, "without labels files are judged by agreement"
        cells = (report.matched_fraction, report.mean_mask_iou, report.min_mask_iou)
        counts = (str(report.images), str(report.instances))
        rows.add_row(artefact.format, *counts, *(figure(value) for value in cells))
    return rows


def _files(artefacts: "Sequence[QuantizedArtefact]") -> "Table":
    rows = table("", "MB", "of float32", "ms", "ms, float", "ratio")
    for a in artefacts:
        times = (f"{a.ms:.1f}", f"{a.float_ms:.1f}", f"{a.ms / a.float_ms:.2f}")
        rows.add_row(a.format, f"{a.bytes / 1e6:.2f}", f"{a.share:.3f}", *times)
    return rows
