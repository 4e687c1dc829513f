"""The table at the end of ``predict``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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
    from statistics import median

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not results:
        return
    console = Console(highlight=False)
    stages = list(results[0].stages)
    headers = (stage.replace("process", "-\nprocess") for stage in stages)
    table = Table("source", "found", *headers, box=None, caption=Text(caption))
    table.padding, table.pad_edge = (0, 2, 0, 0), False
    for column in table.columns[:2]:
        column.overflow = "fold"
    for column in table.columns[2:]:
        column.justify = "right"
    rows = [(r.name, _found(r), r.stages) for r in results]
    if len(results) > TABLE_ROWS:
        medians = {stage: median(r.stages[stage] for r in results) for stage in stages}
        instances = sum(r.found.total() for r in results)
        rows = [(f"{len(results)} sources, medians", f"{instances} instances", medians)]
    for name, found, times in rows:
        cells = (Text(one_line(cell, console.encoding)) for cell in (name, found))
        table.add_row(*cells, *(f"{times[s]:.1f}" for s in stages))
    console.print(table)


def _found(result: Result) -> str:
    if result.frames:
        return f"{result.found.total()} instances in {result.frames} frames"
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in result.found.most_common())
