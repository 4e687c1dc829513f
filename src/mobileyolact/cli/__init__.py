"""The command line: one file a command, in which the function of its name is the command.

A command imports what it needs inside its function, so that ``mobileyolact predict`` never
loads PyTorch and ``--help`` answers at once.
"""

import errno
import gc
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

import mobileyolact
from mobileyolact.cli.lines import one_line
from mobileyolact.cli.words import Command, Group
from mobileyolact.errors import MobileYolactError

COMMANDS = (
    "predict",
    "train",
    "evaluate",
    "compare",
    "export",
    "quantize",
    "verify",
    "benchmark",
    "presets",
    "models",
)


class _SentenceOnError(Group):
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


def _build(commands: Iterable[str]) -> typer.Typer:
    """The command line with these commands alone, which are imported."""
    built = typer.Typer(
        name="mobileyolact",
        cls=_SentenceOnError,
        help="Instance masks on phones, browsers, small boards and plain CPUs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )
    built.callback()(_options)
    for name in commands:
        function = getattr(import_module(f"{__name__}.{name}"), name)
        built.command(cls=Command)(function)
    return built


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mobileyolact {mobileyolact.__version__}")
        raise typer.Exit()


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def __getattr__(name: str) -> Any:
    """``app``, the whole command line, which imports the modules of all commands."""
    if name != "app":
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    globals()[name] = _build(COMMANDS)
    return globals()[name]


def main() -> None:
    """Entry point of the ``mobileyolact`` command."""
    # numpy, which reads this when it is imported, would start threads for matrices that are too
    # small to gain from them; they take the cores from the next picture.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Only the command that is run is imported; for help and mistakes all are.
    asked = sys.argv[1:2]
    command_line = _build(asked if asked and asked[0] in COMMANDS else COMMANDS)
    try:
        command_line()
    finally:
        # On its way out Python would look through all objects for garbage, several times, for
        # longer than a network takes; the system takes the memory back at once.
        gc.freeze()
