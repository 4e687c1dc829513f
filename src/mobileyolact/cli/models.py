"""``mobileyolact models``: the embedded models."""

import json
from typing import Annotated, Any

import typer

from mobileyolact import zoo


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the embedded models: preset, kinds of file with their size, and licence."""
    rows = [_describe(model) for model in zoo.list_models()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "preset", "input", "classes", "files", "what it is", box=None)
    for row in rows:
        files = "\n".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in row["bytes"].items())
        size = "x".join(map(str, row["input_size"])) if row["input_size"] else ""
        classes = str(row["classes"] or "")
        table.add_row(row["name"], row["preset"], size, classes, files, row["summary"])
    Console(highlight=False).print(table)


def _describe(model: zoo.ZooModel) -> dict[str, Any]:
    """One model as JSON; what its contract says is null where the model is not embedded."""
    from mobileyolact.contract import ModelContract
    from mobileyolact.runtime.backends import open_backend

    kinds = model.kinds()
    contract = None
    if "ncnn" in kinds:  # there it is a file of its own, which needs no engine
        path = model.files("ncnn")[-1]
        contract = ModelContract.from_json(path.read_text(encoding="utf-8"), path.name)
    elif kinds:
        contract = open_backend(model.path(kinds[0])).contract
    return {
        "name": model.name,
        "preset": model.preset,
        "summary": model.summary,
        "input_size": list(contract.input_size) if contract else None,
        "classes": len(contract.classes) if contract else None,
        "bytes": {kind: sum(f.stat().st_size for f in model.files(kind)) for kind in kinds},
        "provenance": contract.provenance if contract else None,
    }
