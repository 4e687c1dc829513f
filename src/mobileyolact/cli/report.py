"""The table at the end of ``predict``."""

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from mobileyolact.cli.columns import columns
from mobileyolact.cli.lines import one_line

# Up to so many sources get a row each; more get one summary.
TABLE_ROWS = 12


@dataclass(frozen=True)
class Result:
    """What one source gave; times in milliseconds, of a video the means over its frames.

    Args:
        name: of the source.
        found: how many instances of what.
        stages: time of each stage.
        frames: of a video, else 0.
        problem: what was wrong though there is a result, in a sentence.
    """

    name: str
    found: Counter[str]
    stages: dict[str, float]
    frames: int = 0
    problem: str | None = None


def report(results: Sequence[Result], caption: str) -> None:
    """Print a row for each of few results, sums and medians for many."""
    if not results:
        return
    stages = list(results[0].stages)
    rows = [(r.name, _found(r), r.stages) for r in results]
    if len(results) > TABLE_ROWS:
        from statistics import median

        medians = {stage: median(r.stages[stage] for r in results) for stage in stages}
        instances = sum(r.found.total() for r in results)
        rows = [(f"{len(results)} sources, medians", f"{instances} instances", medians)]
    encoding = sys.stdout.encoding or "utf-8"
    table = [["source", "found", *(stage.replace("process", "-\nprocess") for stage in stages)]]
    for name, found, times in rows:
        words = (one_line(cell, encoding) for cell in (name, found))
        table.append([*words, *(f"{times[stage]:.1f}" for stage in stages)])
    typer.echo(columns(table, shutil.get_terminal_size().columns))
    typer.echo(one_line(caption, encoding))


def _found(result: Result) -> str:
    if result.frames:
        return f"{result.found.total()} instances in {result.frames} frames"
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in result.found.most_common())
