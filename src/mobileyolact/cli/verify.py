"""``mobileyolact verify``: do two models give the same answer?"""

from pathlib import Path
from typing import Annotated

import typer

from mobileyolact.cli.opening import open_backend_for
from mobileyolact.cli.parity_table import choose_pictures, note_without_instances, parity_table


def verify(
    reference: Annotated[
        str, typer.Argument(metavar="A", help="The reference: a name, artefact or checkpoint.")
    ],
    candidate: Annotated[
        str, typer.Argument(metavar="B", help="The model to check: a name, artefact or checkpoint.")
    ],
    images: Annotated[
        Path, typer.Option("--images", metavar="DIR", help="Pictures on which both models run.")
    ],
) -> None:
    """Compare model B with model A on pictures: raw outputs, and masks of matched instances.

    The exit code is 1 if a bound is not kept.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mobileyolact.export.parity import ParityBounds, compare
    from mobileyolact.runtime.image import open_image

    pictures = choose_pictures(images)
    a = open_backend_for(reference)
    b = open_backend_for(candidate)
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        shown = progress.track(pictures, description="verify")
        report = compare(a, b, (open_image(picture) for picture in shown))
    a.close()
    b.close()
    bounds = ParityBounds()
    Console(highlight=False).print(parity_table([(Path(candidate).name, report)], bounds))
    if note := note_without_instances(report):
        typer.echo(note, err=True)
    report.check(bounds, f"'{candidate}'")
