"""What all commands have in common, and the two that only list something."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import mobileyolact
from mobileyolact import zoo
from mobileyolact.cli import app, needs
from mobileyolact.cli.lines import one_line
from mobileyolact.errors import ModelError, OptionError

COMMANDS = [info.callback.__name__ for info in app.registered_commands if info.callback]


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(app, ["--version"]).output == f"mobileyolact {mobileyolact.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command: str, runner: CliRunner) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    module = sys.modules[f"mobileyolact.cli.{command}"]
    first = getattr(module, command).__doc__.split("\n")[0]
    assert " ".join(first.split()[:4]) in result.output


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("mobileyolact")
    done = subprocess.run([command, "models", "--json"], capture_output=True, text=True, check=True)
    assert [model["name"] for model in json.loads(done.stdout)] == ["coco", "coco-int8"]


@pytest.mark.parametrize(("given", "there"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_numpy_finds_one_thread_unless_the_user_says_more(
    given: dict[str, str], there: str
) -> None:
    code = (
        "import os, sys\nfrom mobileyolact.cli import main\nassert 'numpy' not in sys.modules\n"
        "sys.argv = ['mobileyolact', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    bare = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=bare | given)
    assert done.stdout.split()[-1] == there


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (OptionError("a wrong option"), "error: a wrong option", 2),
        (ModelError("a broken model"), "error: a broken model", 1),
        (
            PermissionError(13, "Permission denied", "x.json"),
            "error: permission denied 'x.json'",
            1,
        ),
    ],
)
def test_errors_are_one_line(error: Exception, line: str, code: int, runner: CliRunner) -> None:
    failing = typer.Typer(cls=app.info.cls)

    @failing.command()
    def fail() -> None:
        raise error

    @failing.command()
    def other() -> None:
        pass

    result = runner.invoke(failing, ["fail"])
    assert result.exit_code == code
    assert result.stderr == line + "\n"


def test_a_mistake_of_ours_keeps_its_traceback(runner: CliRunner) -> None:
    failing = typer.Typer(cls=app.info.cls)

    @failing.callback()
    def options() -> None:
        pass

    @failing.command()
    def fail() -> None:
        raise ZeroDivisionError

    assert isinstance(runner.invoke(failing, ["fail"]).exception, ZeroDivisionError)


def test_models(runner: CliRunner) -> None:
    rows = json.loads(runner.invoke(app, ["models", "--json"]).output)
    for row, model in zip(rows, zoo.list_models(), strict=True):
        assert row["name"] == model.name
        assert row["preset"] == model.preset
        assert set(row["bytes"]) == set(model.kinds())
    assert "coco" in runner.invoke(app, ["models"]).output


def test_presets(runner: CliRunner) -> None:
    pytest.importorskip("torch")
    from mobileyolact.model.presets import PRESETS, VARIANTS

    rows = json.loads(runner.invoke(app, ["presets", "--json"]).output)
    assert [row["name"] for row in rows] == list(PRESETS)
    for row in rows:
        assert row["input_size"] == list(PRESETS[row["name"]].input_size)
        assert row["parameters"] > 1e6
        assert set(row["gmacs"]) == {"backbone", "neck", "head", "prototypes"}
    table = runner.invoke(app, ["presets"]).output
    assert all(name in table for name in PRESETS)
    assert all(f"+{name} " in table for name in VARIANTS)
    chosen = json.loads(runner.invoke(app, ["presets", "s-320+symmetric", "--json"]).output)
    assert [row["backbone"] for row in chosen] == ["mobilenetv2-1.0-symmetric"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, runner: CliRunner) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    result = runner.invoke(app, ["presets"])
    assert result.exit_code == 2
    assert "pip install 'mobileyolact[train]'" in result.stderr


def test_any_text_is_one_line() -> None:
    assert one_line("plain é 日本.jpg") == "plain é 日本.jpg"
    assert one_line(Path("two\nlines\x1b[31m\udcff.jpg")) == r"two\nlines\x1b[31m\udcff.jpg"
    assert one_line("é 日", "ascii") == r"\xe9 \u65e5"
