"""Words are read as typer itself would read them."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from mobileyolact.cli import app
from mobileyolact.cli.words import Command


@pytest.mark.parametrize(
    "words",
    [
        ["a"],
        ["a", "b c", "--path", "x/y", "--several", "1", "--several", "2", "--flag", "--text", ""],
        ["a", "--number", "3", "--ratio", "0.5"],
        ["a", "--number", "0"],
        ["a", "--number", "three"],
        ["a", "--ratio", "2"],
        ["a", "--path"],
        ["a", "--unknown"],
        [],
        ["--help"],
    ],
)
def test_as_typer_does(words: list[str], runner: CliRunner) -> None:
    seen: list[Any] = []

    def command(
        names: Annotated[list[str], typer.Argument()],
        text: Annotated[str | None, typer.Option()] = None,
        path: Annotated[Path, typer.Option()] = Path("here"),
        several: Annotated[list[Path] | None, typer.Option()] = None,
        number: Annotated[int | None, typer.Option(min=1)] = None,
        ratio: Annotated[float, typer.Option(max=1.0)] = 0.25,
        flag: Annotated[bool, typer.Option("--flag")] = False,
    ) -> None:
        seen.append((names, text, path, several, number, ratio, flag))

    results = []
    for options in ({}, {"cls": Command}):
        one = typer.Typer(add_completion=False)
        one.command(**options)(command)
        results.append(runner.invoke(one, words))
    plain, ours = results
    assert (ours.exit_code, ours.output) == (plain.exit_code, plain.output)
    if plain.exit_code == 0 and words != ["--help"]:
        assert seen[0] == seen[1]
        assert [type(value) for value in seen[0]] == [type(value) for value in seen[1]]
    else:
        assert not seen


def test_every_command_is_made_so() -> None:
    assert {info.cls for info in app.registered_commands} == {Command}
