"""Pictures overlap, and nobody can tell from the outside."""

import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from mobileyolact.cli import ahead, app, pictures
from mobileyolact.errors import MobileYolactError, ModelError
from mobileyolact.runtime.image import open_image
from mobileyolact.stopping import StopSignals

PATIENCE = 20  # seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures; the second is an animation, the third is damaged, the fourth is larger."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        size = (60, 45) if number != 3 else (200, 150)
        Image.new("RGB", size, (40 * number, 90, 60)).save(folder / f"{number}.png")
    frames = [Image.new("L", (60, 45), grey) for grey in (0, 250)]
    frames[0].save(folder / "1.gif", save_all=True, append_images=frames[1:])
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes(b"\x89PNG not really")
    return folder


def predict(folder: Path, out: Path, runner: CliRunner) -> tuple[Any, dict[str, Any]]:
    file = out.with_suffix(".json")
    result = runner.invoke(app, ["predict", str(folder), "-o", str(out), "--json", str(file)])
    return result, json.loads(file.read_text(encoding="utf-8"))


def sources(records: list[dict[str, Any]]) -> list[str]:
    return [Path(record["source"]).name for record in records]


@pytest.mark.usefixtures("one_cat")
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("most", [ahead.AHEAD_PIXELS, 10_000, 0])
def test_everything_comes_in_the_order_of_the_sources(
    workers: int,
    most: int,
    folder: Path,
    tmp_path: Path,
    runner: CliRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ahead, "count_workers", lambda threads: workers)
    monkeypatch.setattr(ahead, "AHEAD_PIXELS", most)
    result, records = predict(folder, tmp_path / "out", runner)
    assert result.exit_code == 1
    note, error = result.stderr.splitlines()
    assert note.startswith("note: ")
    assert "1.gif has several frames" in note
    assert error.startswith("error: ")
    assert "2.png" in error
    assert sources(records["images"]) == ["0.png", "1.gif", "3.png", "4.png", "5.png"]
    assert sources(records["errors"]) == ["2.png"]
    rows = [line.split()[0] for line in result.stdout.splitlines()[2:7]]
    assert rows == sources(records["images"])
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert open_image(tmp_path / "out" / "3.png").shape == (150, 200, 3)


class Watching:
    """A model that tells ``watch`` which of its runs begins."""

    def __init__(self, backend: Any, watch: Callable[[int], None]) -> None:
        self.backend, self.watch, self.numbers = backend, watch, itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def run(self, tensor: Any) -> Any:
        self.watch(next(self.numbers))
        return self.backend.run(tensor)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, squares: Callable[..., Any]) -> Callable[..., None]:
    def use(function: Callable[[int], None]) -> None:
        backend = Watching(squares((4 * 8 + 4, 1, 2.0)), function)
        monkeypatch.setattr("mobileyolact.cli.predict.open_backend_for", lambda *_: backend)

    return use


def test_two_networks_and_the_drawing_run_at_once(
    watch: Callable[..., None], tmp_path: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.new("RGB", (60, 45)).save(tmp_path / "in" / f"{number}.png")
    pair, started = threading.Barrier(2), [threading.Event() for _ in range(7)]
    read: list[Path] = []
    ahead_of_drawing = []
    write = pictures.write_picture

    def reading(path: Path, *args: Any) -> Any:
        read.append(path)
        return open_image(path, *args)

    def writing(path: Path, image: Any) -> None:
        number = int(path.stem)
        assert started[min(number + 2, 5)].wait(PATIENCE)
        ahead_of_drawing.append(len(read) - number - 1)
        write(path, image)

    def network(number: int) -> None:
        started[number].set()
        pair.wait(PATIENCE)

    monkeypatch.setattr(ahead, "count_workers", lambda threads: 2)
    monkeypatch.setattr(pictures, "open_image", reading)
    monkeypatch.setattr(pictures, "write_picture", writing)
    watch(network)
    result, _ = predict(tmp_path / "in", tmp_path / "out", runner)
    assert result.exit_code == 0, result.output
    assert len(ahead_of_drawing) == 6
    assert max(ahead_of_drawing) <= 3, "no more pictures may be in memory"


@pytest.mark.usefixtures("one_cat")
def test_a_signal_while_drawing_ends_after_that_picture(
    tmp_path: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(9):
        Image.new("RGB", (60, 45)).save(tmp_path / "in" / f"{number}.png")
    stops: list[StopSignals] = []
    enter, write = StopSignals.__enter__, pictures.write_picture
    monkeypatch.setattr(StopSignals, "__enter__", lambda self: stops.append(self) or enter(self))

    def writing(path: Path, image: Any) -> None:
        if path.stem == "2":
            stops[0].received = 2
        write(path, image)

    monkeypatch.setattr(pictures, "write_picture", writing)
    result, records = predict(tmp_path / "in", tmp_path / "out", runner)
    assert result.exit_code == 130
    assert result.stderr.splitlines() == ["stopped after 3 of 9 sources"]
    names = ["0.png", "1.png", "2.png"]
    assert sources(records["images"]) == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


@pytest.mark.usefixtures("one_cat")
def test_nothing_is_written_after_a_place_that_cannot_be(
    folder: Path, tmp_path: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pictures.write_picture

    def full(path: Path, image: Any) -> None:
        if path.stem == "3":
            raise MobileYolactError("the disk is full")
        write(path, image)

    monkeypatch.setattr(pictures, "write_picture", full)
    result, records = predict(folder, tmp_path / "out", runner)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "error: the disk is full"
    assert sources(records["images"]) == ["0.png", "1.gif"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]


def test_what_was_found_before_the_model_failed_is_kept(
    watch: Callable[..., None], tmp_path: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "count_workers", lambda threads: 1)
    (tmp_path / "in").mkdir()
    for number in range(5):
        Image.new("RGB", (60, 45)).save(tmp_path / "in" / f"{number}.png")

    def fail(number: int) -> None:
        if number == 3:
            raise ModelError("the model is broken")

    watch(fail)
    result, records = predict(tmp_path / "in", tmp_path / "out", runner)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["error: the model is broken"]
    names = ["0.png", "1.png", "2.png"]
    assert sources(records["images"]) == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_reading_ends_where_the_model_cannot_be_opened(
    folder: Path, tmp_path: Path, runner: CliRunner
) -> None:
    before = threading.active_count()
    args = ["predict", str(folder), "-m", "nothing", "-o", str(tmp_path / "out")]
    result = runner.invoke(app, args)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert threading.active_count() == before
    assert not (tmp_path / "out").exists()
