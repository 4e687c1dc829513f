"""``mobileyolact export`` and ``mobileyolact verify`` as a user types them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch")
pytest.importorskip("onnx")

from mobileyolact.cli import app
from mobileyolact.cli.parity_table import MAX_PICTURES, choose_pictures
from mobileyolact.errors import OptionError

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(pictures: list[Path]) -> Path:
    return pictures[0].parent


def test_export_then_verify_and_predict(
    command: Command, checkpoint: Path, folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    formats = "onnx, ncnn,torchscript"
    result = command("export", checkpoint, "--images", folder, "-o", out, "--format", formats)
    assert result.exit_code == 0, result.output
    candidates = ("tiny.onnx", "tiny.ncnn.param", "tiny.torchscript")
    assert set(candidates) <= {path.name for path in out.iterdir()}
    assert "tiny.onnx  " in result.output
    for candidate in candidates:
        result = command("verify", checkpoint, out / candidate, "--images", folder)
        assert result.exit_code == 0, result.output
        assert "mask IoU, mean" in result.output
        words = ("-m", out / candidate, "-o", tmp_path / candidate, "--threads", 1)
        result = command("predict", pictures[0], *words)
        assert result.exit_code == 0, result.output
        assert (tmp_path / candidate / pictures[0].name).is_file()
    result = command("verify", out / "tiny.ncnn.param", out / "tiny.onnx", "--images", folder)
    assert result.exit_code == 0, result.output


def test_verify_fails_on_a_model_of_other_weights(
    command: Command,
    checkpoint: Path,
    folder: Path,
    tmp_path: Path,
    make_network: Callable[..., Any],
) -> None:
    from mobileyolact.model.weights import save_checkpoint

    other = tmp_path / "other.safetensors"
    save_checkpoint(other, *make_network("n-320", size=64, seed=7))
    result = command("verify", checkpoint, other, "--images", folder)
    assert result.exit_code == 1
    assert "error: '" in result.stderr
    assert "dB (at least 40.0)" in result.stderr
    assert "Traceback" not in result.output


def test_export_of_one_format_at_another_size(
    command: Command, checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--images", folder, "-o", out, "--format", "ncnn", "--size", 96)
    result = command("export", checkpoint, *words)
    assert result.exit_code == 0, result.output
    assert {path.name.split(".")[0] for path in out.iterdir()} == {"tiny-96"}
    result = command("verify", checkpoint, out / "tiny-96.ncnn.param", "--images", folder)
    assert result.exit_code == 2
    assert "64x64 and 96x96 pixels" in result.stderr


def test_a_model_that_finds_nothing_is_exported_with_a_note(
    command: Command, folder: Path, tmp_path: Path, make_network: Callable[..., Any]
) -> None:
    from mobileyolact.model.weights import save_checkpoint

    path = tmp_path / "blind.safetensors"
    network, contract = make_network("n-320", size=64)
    for level in network.head.levels:
        level.scores.bias.data.fill_(-200.0)
    save_checkpoint(path, network, contract)
    result = command("export", path, "--images", folder, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "note: no instance was found in the 2 pictures" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("text.safetensors", "--images", "."), "text.safetensors"),
        (("missing.safetensors", "--images", "."), "there is no model file"),
        (("tiny.safetensors", "--images", "empty"), "--images: the folder 'empty' holds no"),
        (("tiny.safetensors", "--images", "nowhere"), "--images: there is no file or folder"),
        (("tiny.safetensors", "--images", ".", "--format", "tflite"), "no export format 'tflite'"),
        (("tiny.safetensors", "--images", ".", "--format", ","), "at least one format"),
        (("tiny.safetensors", "--images", ".", "--size", "100"), "multiple of 32"),
        (("tiny.safetensors", "--images", ".", "-o", "0.png"), "cannot write to the folder"),
        (("tiny.safetensors", "--images", "broken"), "broken.png"),
    ],
)
def test_bad_input_gives_one_sentence(
    words: tuple[str, ...],
    message: str,
    command: Command,
    checkpoint: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    Path("text.safetensors").write_text("no tensors here")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/broken.png").write_text("no picture here")
    before = sorted(folder.rglob("*"))
    result = command("export", *words)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert sorted(folder.rglob("*")) == before


def test_many_pictures_are_sampled_evenly(pictures: list[Path], tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for i in range(100):
        shutil.copy(pictures[0], many / f"{i:03}.png")
    names = [path.name for path in choose_pictures(many)]
    assert len(names) == MAX_PICTURES
    assert names == sorted(set(names))
    assert (names[0], names[-1]) == ("000.png", "096.png")


def test_a_single_picture_will_do(pictures: list[Path], tmp_path: Path) -> None:
    assert choose_pictures(pictures[0]) == [pictures[0]]
    with pytest.raises(OptionError, match="there is no file or folder"):
        choose_pictures(tmp_path / "nowhere")
