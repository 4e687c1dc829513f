"""What ``benchmark`` prints: the machine, times by stage, sizes and memory."""

from pathlib import Path
from typing import TYPE_CHECKING

from mobileyolact.cli.lines import one_line
from mobileyolact.cli.measuring import table

if TYPE_CHECKING:
    from rich.table import Table

    from mobileyolact.benchmark.results import Benchmark, Measured, Spread

_MEGA = 1e6


def show(result: "Benchmark") -> None:
    """Print a table of times for each number of threads, and a line on each model."""
    from rich.console import Console

    console = Console(highlight=False)
    names = _names(result)
    console.print(f"{result.device}\n", soft_wrap=True, markup=False)
    for threads in dict.fromkeys(model.threads for model in result.models):
        console.print(_times(result, threads, names))
        console.print()
    lines = [_about(model, names[model.name]) for model in result.models]
    width, height = result.size
    lines.append(f"picture of {width}x{height} pixels")
    if result.decode and result.draw:
        drawn = next(m.instances for m in result.models if m.instances is not None)
        lines[-1] += (
            f"; not in the table: decoding it from JPEG {_text(result.decode)}, "
            f"drawing {drawn} instances {_text(result.draw)}"
        )
    if any(model.instances is None for model in result.models):
        lines.append(
            "of other projects' files the network is timed alone, on random input; where the first "
            "model is one, the ratio of a total is to its network"
        )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _times(result: "Benchmark", threads: int, names: dict[str, str]) -> "Table":
    from rich.markup import escape

    from mobileyolact.benchmark.results import STAGES, ratio

    heading = "1 thread" if threads == 1 else f"{threads} threads"
    rows = table(heading, "stage", "median ms", "p90", "min", "ratio")
    rows.columns[0].overflow = "fold"
    rows.columns[1].justify = "left"
    for model in result.models:
        if model.threads != threads:
            continue
        name = escape(names[model.name])
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


def _names(result: "Benchmark") -> dict[str, str]:
    """Names as they were given, or where that suffices the last part of a path."""
    given = list(dict.fromkeys(model.name for model in result.models))
    short = [one_line(Path(name).name) for name in given]
    return {n: s if short.count(s) == 1 else one_line(n) for n, s in zip(given, short, strict=True)}


def _about(model: "Measured", name: str) -> str:
    parts = [model.engine, f"{model.file_bytes / _MEGA:.2f} MB"]
    if model.peak_rss_bytes is not None:
        parts.append(f"peak memory {model.peak_rss_bytes / _MEGA:.0f} MB")
    if model.instances is not None:
        parts.append(f"{model.instances} instances")
    return f"{name}: {'; '.join(parts)}"


def _text(spread: "Spread") -> str:
    figures = f"p90 {spread.p90_ms:.2f}, min {spread.min_ms:.2f}"
    return f"{spread.median_ms:.2f} ms ({figures})"
