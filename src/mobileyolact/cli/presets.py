"""``mobileyolact presets``: the networks that can be trained."""

import dataclasses
import json
from typing import Annotated

import typer

from mobileyolact.cli.needs import need

_FOLDED = ("preset", "backbone", "--init")  # the columns that give way on a narrow terminal


def presets(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Which, if not all; with variants as in paper-320+dense.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks: input, backbone, start, parameters and multiply-accumulates by part."""
    need("train", "'presets'", "torch")
    from mobileyolact.model.presets import PRESETS, VARIANTS, get_preset
    from mobileyolact.model.summary import summarise

    summaries = [summarise(get_preset(name)) for name in names or PRESETS]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(s) for s in summaries], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    parts = list(summaries[0].gmacs)
    table = Table("preset", "input", "backbone", "--init", "params", *parts, "sum", box=None)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.caption = f"with {summaries[0].classes} classes; the parts in 10^9 multiply-accumulates"
    for column in table.columns[4:]:
        column.justify = "right"
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", column.header not in _FOLDED
    for s in summaries:
        table.add_row(
            s.name,
            "x".join(map(str, s.input_size)),
            s.backbone,
            ", ".join(s.starts),
            f"{s.parameters / 1e6:.2f} M",
            *(f"{s.gmacs[part]:.2f}" for part in parts),
            f"{sum(s.gmacs.values()):.2f}",
        )
    console = Console(highlight=False)
    console.print(table)
    if not names:
        console.print("\nvariants, for experiments: NAME+VARIANT")
        for name, variant in VARIANTS.items():
            families = ", ".join(f"{family}-*" for family in variant.families)
            console.print(f"  +{name}  {variant.meaning} ({families})")
