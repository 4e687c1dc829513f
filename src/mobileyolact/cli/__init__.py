"""The command line: one file a command, registered here.

A command imports what it needs inside its function, so that ``mobileyolact predict`` never
loads PyTorch and ``--help`` answers at once.
"""

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import mobileyolact
from mobileyolact.cli import (
    benchmark,
    compare,
    evaluate,
    export,
    models,
    predict,
    presets,
    quantize,
    train,
    verify,
)
from mobileyolact.cli.lines import one_line
from mobileyolact.errors import MobileYolactError


class _SentenceOnError(TyperGroup):
    """Prints our errors and the system's as one line ``error: ...`` instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MobileYolactError as error:
            typer.echo(f"error: {one_line(error)}", err=True)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno == errno.EPIPE or error.strerror is None:
                raise
            where = f" '{one_line(error.filename)}'" if error.filename else ""
            typer.echo(f"error: {error.strerror.lower()}{where}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="mobileyolact",
    cls=_SentenceOnError,
    help="Instance masks on phones, browsers, small boards and plain CPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

for _command in (
    predict.predict,
    train.train,
    evaluate.evaluate,
    compare.compare,
    export.export,
    quantize.quantize,
    verify.verify,
    benchmark.benchmark,
    presets.presets,
    models.models,
):
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mobileyolact {mobileyolact.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the ``mobileyolact`` command."""
    app()
