"""``benchmark --project``: which files times on phones are estimated of, and what it prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mobileyolact import zoo
from mobileyolact.cli.lines import one_line
from mobileyolact.cli.measuring import table
from mobileyolact.errors import OptionError

if TYPE_CHECKING:
    from mobileyolact.benchmark.projecting import Network
    from mobileyolact.benchmark.projection import Errors, Projection


def find_networks(models: Sequence[str], size: tuple[int, int] | None) -> list["Network"]:
    """The ncnn files of the models, with a warning for each model that has none that will do.

    Args:
        models: what the command line calls them.
        size: (width, height) for files that do not fix their input.

    Raises:
        OptionError: there is none at all.
    """
    from mobileyolact.benchmark.projecting import Network

    networks, refused = [], []
    for model in dict.fromkeys(models):
        try:
            networks.append(Network.of(model, _ncnn_file(model), size))
        except OptionError as error:
            refused.append(str(error))
    if not networks:
        raise OptionError(refused[0])
    for reason in refused:
        typer.echo(one_line(f"warning: {reason}"), err=True)
    return networks


def _ncnn_file(model: str) -> Path:
    if model.lower().endswith(".param"):
        return Path(model)
    for entry in zoo.list_models():
        if entry.name == model and "ncnn" in entry.kinds():
            return entry.path("ncnn")
    raise OptionError(
        f"times on phones are estimated of ncnn files in float, and '{model}' is none; "
        "give its .ncnn.param, which 'mobileyolact export' makes"
    )


def show_projection(projection: "Projection") -> None:
    """Print a table for each model, and how far off such estimates are."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for name, estimates in projection.estimates.items():
        title = escape(one_line(Path(name).name))
        rows = table(title, "threads", "ms", "90 % within", "FPS", "90 % within")
        rows.columns[0].overflow = "fold"
        for e in estimates:
            cells = (
                f"{e.ms:.1f}",
                f"{e.low_ms:.1f} - {e.high_ms:.1f}",
                f"{1000 / e.ms:.0f}",
                f"{1000 / e.high_ms:.0f} - {1000 / e.low_ms:.0f}",
            )
            rows.add_row(e.device, f"{e.threads}{'*' if e.interpolated else ''}", *cells)
        console.print()
        console.print(rows)
    console.print()
    for line in (
        "estimates, not measurements: of the network alone, in ncnn with its default of 16-bit "
        "floats, on a chip's big cores",
        "* between Snapdragon 855+ and 8 Gen 2, as its own times are not published",
        f"error where the network's family is left out: {_text(projection.errors)}; "
        f"of chips with times of many families {_text(projection.full)}, "
        f"of the others {_text(projection.short)}",
    ):
        console.print(line, soft_wrap=True, markup=False)


def _text(errors: "Errors") -> str:
    return f"median {errors.median:.0%}, p90 {errors.p90:.0%} ({errors.count} times)"
