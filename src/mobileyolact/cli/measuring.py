"""What the commands that measure share: labels, the run over all pictures, tables, JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from mobileyolact.evaluate.bootstrap import Difference
    from mobileyolact.evaluate.evaluator import Evaluation
    from mobileyolact.labels.dataset import Dataset
    from mobileyolact.runtime.backends.base import Backend

SHOWN_PROBLEMS = 5


def open_labels(labels: Path, images: Path | None) -> "Dataset":
    """Read labels and say what of them was left out; a few are enough to see what is wrong."""
    from mobileyolact.labels.formats import read_labels

    dataset = read_labels(labels, images)
    for problem in dataset.problems[:SHOWN_PROBLEMS]:
        typer.echo(f"warning: {problem}", err=True)
    if len(dataset.problems) > SHOWN_PROBLEMS:
        more = len(dataset.problems) - SHOWN_PROBLEMS
        typer.echo(f"warning: and {more} more such problems in the labels", err=True)
    return dataset


def class_names(text: str | None) -> list[str] | None:
    """The names in an option such as ``person,dog``; ``None`` where it was not given."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def measure(
    backend: "Backend", dataset: "Dataset", classes: list[str] | None, title: str = "evaluate"
) -> "Evaluation":
    """Run an opened model over all pictures, with a progress bar on a terminal, and close it."""
    from rich.console import Console
    from rich.progress import Progress

    from mobileyolact.evaluate import evaluator

    errors = Console(stderr=True)
    with (
        evaluator.evaluation_predictor(backend) as predictor,
        Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress,
    ):
        task = progress.add_task(title, total=len(dataset.records))
        return evaluator.evaluate(
            predictor, dataset, classes, lambda done: progress.update(task, completed=done)
        )


def table(*columns: str) -> "Table":
    """A plain table with its figures at the right."""
    from rich.table import Table

    plain = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in plain.columns[1:]:
        column.justify = "right"
    return plain


def figure(value: float | None) -> str:
    """Three digits, or a dash where there is no instance to judge by."""
    return "-" if value is None else f"{value:.3f}"


def difference_cells(d: "Difference") -> list[str]:
    """A, B, B - A and its interval, or dashes where there is no instance to judge by."""
    if d.a != d.a:  # NaN
        return [figure(None)] * 4
    interval = f"{d.low:+.4f} to {d.high:+.4f}"
    return [figure(d.a), figure(d.b), f"{d.difference:+.4f}", interval]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content``, whole or not at all."""
    from mobileyolact.files import write_beside

    with write_beside(path) as beside:
        beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
