"""``mobileyolact presets``: the networks that can be trained."""

import dataclasses
import json
from typing import Annotated

import typer

from mobileyolact.cli.needs import need


def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks: input, backbone, start, parameters and multiply-accumulates by part."""
    need("train", "'presets'", "torch")
    from mobileyolact.model.presets import PRESETS
    from mobileyolact.model.summary import summarise

    summaries = [summarise(preset) for preset in PRESETS.values()]
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
        column.overflow, column.no_wrap = "fold", column.header not in ("backbone", "--init")
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
    Console(highlight=False).print(table)
