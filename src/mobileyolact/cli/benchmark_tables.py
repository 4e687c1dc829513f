"""What ``benchmark`` prints: the machine, times by stage, sizes and memory."""

from typing import TYPE_CHECKING

from mobileyolact.cli.lines import one_line
from mobileyolact.cli.measuring import table

if TYPE_CHECKING:
    from rich.table import Table

    from mobileyolact.benchmark.results import Benchmark, Spread

_MEGA = 1e6


def show(result: "Benchmark") -> None:
    """Print one table of times for each number of threads, and one of everything else."""
    from rich.console import Console

    console = Console(highlight=False)
    width, height = result.size
    console.print(f"{result.device}\n", soft_wrap=True, markup=False)
    for threads in dict.fromkeys(model.threads for model in result.models):
        console.print(_times(result, threads))
        console.print()
    console.print(_sizes(result))
    picture = f"picture of {width}x{height}"
    if result.decode and result.draw:
        picture += (
            f"; apart from the above, as JPEG it is decoded in {_text(result.decode)}, and "
            f"{result.models[_first_own(result)].instances} instances are drawn in "
            f"{_text(result.draw)}"
        )
    console.print(f"\n{picture}", soft_wrap=True, markup=False)
    if any(model.instances is None for model in result.models):
        console.print(
            "files of other projects: the network alone, on random input; where the first model is "
            "one of them, ratios of totals are to its network",
            soft_wrap=True,
        )


def _times(result: "Benchmark", threads: int) -> "Table":
    from rich.markup import escape

    from mobileyolact.benchmark.results import STAGES, ratio

    heading = "1 thread" if threads == 1 else f"{threads} threads"
    rows = table(heading, "stage", "median ms", "p90", "min", "ratio")
    rows.columns[1].justify = "left"
    for model in result.models:
        if model.threads != threads:
            continue
        name = escape(one_line(model.name))
        for stage in STAGES:
            spread = model.stages[stage]
            if spread is None:
                continue
            share = ratio(model, result.first(model), stage)
            figures = (spread.median_ms, spread.p90_ms, spread.min_ms)
            cells = (f"{figure:.2f}" for figure in figures)
            rows.add_row(name, stage, *cells, "-" if share is None else f"{share:.2f}")
            name = ""
    return rows


def _sizes(result: "Benchmark") -> "Table":
    from rich.markup import escape

    rows = table("", "engine", "file MB", "peak memory MB", "instances")
    rows.columns[1].justify = "left"
    for model in result.models:
        peak = "-" if model.peak_rss_bytes is None else f"{model.peak_rss_bytes / _MEGA:.0f}"
        found = "-" if model.instances is None else str(model.instances)
        size = f"{model.file_bytes / _MEGA:.2f}"
        rows.add_row(escape(one_line(model.name)), model.engine, size, peak, found)
    return rows


def _first_own(result: "Benchmark") -> int:
    return next(i for i, model in enumerate(result.models) if model.instances is not None)


def _text(spread: "Spread") -> str:
    figures = f"p90 {spread.p90_ms:.2f}, min {spread.min_ms:.2f}"
    return f"{spread.median_ms:.2f} ms ({figures})"
