"""``mobileyolact export``: a checkpoint becomes files that run without this package."""

from pathlib import Path
from typing import Annotated

import typer

from mobileyolact import zoo
from mobileyolact.cli.needs import need
from mobileyolact.cli.parity_table import choose_pictures, note_without_instances, parity_table


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CKPT", help="A .safetensors checkpoint, or a name (see 'models')."),
    ],
    images: Annotated[
        Path,
        typer.Option(
            "--images", metavar="DIR", help="Pictures on which each file is compared with CKPT."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to.")
    ] = Path(),
    formats: Annotated[
        str,
        typer.Option(
            "--format", metavar="LIST", help="Of onnx, ncnn and torchscript, separated by commas."
        ),
    ] = "onnx,ncnn",
    size: Annotated[
        int | None,
        typer.Option(
            min=64, max=4096, metavar="N", help="Input of N x N pixels, a multiple of 32."
        ),
    ] = None,
) -> None:
    """Write a checkpoint as ONNX, ncnn or TorchScript, and check each on real pictures.

    A file is written only if its raw outputs and masks agree with those of the checkpoint.
    """
    need("export", "'export'")
    path = zoo.resolve(checkpoint, "safetensors")
    pictures = choose_pictures(images)

    from rich.console import Console

    from mobileyolact.export.artefact import export_artefacts
    from mobileyolact.export.parity import ParityBounds

    names = [name.strip() for name in formats.split(",") if name.strip()]
    bounds = ParityBounds()
    console = Console(highlight=False)
    with Console(stderr=True).status(f"exporting, checking on {len(pictures)} pictures"):
        artefacts = export_artefacts(
            path, output, names, pictures, (size, size) if size else None, bounds
        )
    console.print(parity_table(((a.format, a.parity) for a in artefacts), bounds))
    for artefact in artefacts:
        for file in artefact.files:
            console.print(f"{file}  {file.stat().st_size / 1e6:.2f} MB", soft_wrap=True)
    if note := note_without_instances(artefacts[0].parity):
        typer.echo(note, err=True)
