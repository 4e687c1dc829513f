"""What ``export`` and ``verify`` share: the pictures to compare on, and the table of results."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mobileyolact.cli.sources import find_pictures

if TYPE_CHECKING:
    from rich.table import Table

    from mobileyolact.export.parity import ParityBounds, ParityReport

# Enough for figures that no longer move; more would only take longer.
MAX_PICTURES = 32


def choose_pictures(folder: Path) -> list[Path]:
    """The pictures of ``folder``; of many, ``MAX_PICTURES`` spread evenly over the sorted names.

    Raises:
        OptionError: there is no such folder, or it holds no picture.
    """
    pictures = find_pictures(folder)
    if len(pictures) <= MAX_PICTURES:
        return pictures
    return [pictures[i * len(pictures) // MAX_PICTURES] for i in range(MAX_PICTURES)]


def parity_table(models: Iterable[tuple[str, "ParityReport"]], bounds: "ParityBounds") -> "Table":
    """One column for each model compared, and the bounds; what breaks a bound is red."""
    from rich.table import Table

    columns = dict(models)
    table = Table(
        "", *columns, "bound", caption="raw outputs: signal-to-noise ratio and largest difference"
    )
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    reports = columns.values()
    for outputs in zip(*(report.outputs for report in reports), strict=True):
        cells = [
            _cell(o.snr_db, bounds.min_snr_db, f"{o.snr_db:.1f} dB, {o.max_abs_diff:.1e}")
            for o in outputs
        ]
        table.add_row(outputs[0].name, *cells, f">= {bounds.min_snr_db:g} dB")
    table.add_row("instances", *(str(report.instances) for report in reports))
    for label, name, bound in (
        ("matched", "matched_fraction", bounds.min_matched_fraction),
        ("mask IoU, mean", "mean_mask_iou", bounds.min_mean_mask_iou),
        ("mask IoU, lowest", "min_mask_iou", 0.0),
    ):
        values = [getattr(report, name) for report in reports]
        cells = ["-" if v is None else _cell(v, bound, f"{v:.4f}") for v in values]
        table.add_row(label, *cells, f">= {bound:g}" if bound else "")
    return table


def _cell(value: float, bound: float, text: str) -> str:
    return text if value >= bound else f"[red]{text}[/red]"


def note_without_instances(report: "ParityReport") -> str:
    """What to say where masks could not be compared; empty where they could."""
    if report.instances:
        return ""
    return (
        f"note: no instance was found in the {report.images} pictures, so only raw outputs were "
        "compared; give pictures with objects in them to compare masks too"
    )
