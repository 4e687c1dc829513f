"""``mobileyolact quantize`` as a user types it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("pycocotools")

from mobileyolact.cli import app
from mobileyolact.model.weights import load_checkpoint, save_checkpoint

Command = Callable[..., Result]
FLAG = "--calibration"

# Checkpoints that say that they are of this preset.
VARIANTS = {
    "paper.safetensors": "paper-320",
    "other.safetensors": "other-9",
    "infinite.safetensors": "n-320",
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, pictures: list[Path]) -> Command:
    """Run in a folder with ``tiny.safetensors`` and the pictures ``0.png`` and ``1.png``."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.setattr("mobileyolact.quantize.timing.ROUNDS", 1)
    return lambda *words: CliRunner().invoke(app, ["quantize", *map(str, words)])


@pytest.fixture
def command(run: Command, monkeypatch: pytest.MonkeyPatch, float_in_disguise: Any) -> Command:
    """The same, with float files for int8 ones, and times that are known."""
    times = {"onnx": (10.0, 8.0), "ncnn": (10.0, 12.0), "torchscript": (10.0, 10.2)}
    monkeypatch.setattr(
        "mobileyolact.quantize.measuring._times", lambda model, draft, picture: times[draft.format]
    )
    return run


def test_the_true_writers_and_checks(run: Command, tmp_path: Path) -> None:
    result = run("tiny.safetensors", FLAG, ".", "-o", "out", "--int8-depthwise", "on")
    assert result.exit_code == 0, result.output
    notes = [json.loads(file.read_text()) for file in Path("out").glob("*.measured.json")]
    assert {note["format"] for note in notes} == {"onnx", "ncnn", "torchscript"}
    for note in notes:
        assert note["layers"]["compared"] >= note["integer_convolutions"] > 100
        assert note["layers"]["differing"] <= 0.003 * note["layers"]["codes"]
        assert 0 < note["share_of_float32"] < 0.5, "its kernels are too small for 0.32"
    result = run("tiny.safetensors", FLAG, ".", "-o", "out", "--weights", "int8")
    assert result.exit_code == 0, result.output
    assert len(list(Path("out").glob("tiny.small.*.measured.json"))) == 2


def test_without_labels_masks_are_compared(command: Command, tmp_path: Path) -> None:
    result = command("tiny.safetensors", FLAG, ".", "-o", "out")
    assert result.exit_code == 0, result.output
    assert {p.name for p in Path("out").iterdir()} == {
        "tiny.int8.onnx",
        "tiny.int8.onnx.measured.json",
        "tiny.int8.ncnn.param",
        "tiny.int8.ncnn.bin",
        "tiny.int8.ncnn.json",
        "tiny.int8.ncnn.measured.json",
        "tiny.int8.torchscript",
        "tiny.int8.torchscript.measured.json",
    }
    assert "no labels: masks are compared" in result.stdout
    assert "give --val LABELS" in result.stdout
    for text in ("mask IoU, mean", "of float32", "0.80", "1.20", "out/tiny.int8.ncnn.bin"):
        assert text in result.stdout
    (line,) = result.stderr.splitlines()
    assert "tiny.int8.ncnn.param takes 1.20 times as long" in line
    assert line.endswith("use --weights int8")


def rows(result: Result, name: str) -> list[list[str]]:
    """The cells of each line of a table that starts with ``name``."""
    lines = [line.split() for line in result.stdout.splitlines()]
    return [cells for cells in lines if cells[:1] == [name]]


def test_average_precision_on_labels_that_lie_beside_the_pictures(
    command: Command, labels: Path
) -> None:
    result = command("tiny.safetensors", FLAG, ".", "-o", "out", "--format", "onnx, ncnn")
    assert result.exit_code == 0, result.output
    assert "average precision on 2 pictures of labels.json; --val names others" in result.stdout
    for format in ("onnx", "ncnn"):
        ap, ap50, files = rows(result, format)
        assert ap[1:4] == ["mask", "AP", "1.000"]
        assert ap50[1:4] == ["mask", "AP50", "1.000"]
        assert ap50[5:8] == [f"{float(ap50[4]) - 1:+.4f}", ap50[6], "to"]
        assert float(files[2]) > 0
    note = json.loads(Path("out/tiny.int8.onnx.measured.json").read_text())
    assert note["mask"]["labels"] == "labels.json"


def test_labels_above_the_pictures_and_in_their_place(
    command: Command, labels: Path, pictures: list[Path]
) -> None:
    Path("set/images").mkdir(parents=True)
    for file in pictures:
        shutil.move(file, "set/images")
    shutil.move(labels, "set")
    words = ("-o", "out", "--format", "onnx")
    for given in ("set/images", "set", "set/labels.json"):
        result = command("tiny.safetensors", FLAG, given, *words)
        assert result.exit_code == 0, result.output
        assert "average precision on 2 pictures of set/labels.json" in result.stdout
    shutil.copy("set/labels.json", "set/more.json")
    result = command("tiny.safetensors", FLAG, "set/images", *words)
    assert result.exit_code == 0, result.output
    assert "could be labels.json, more.json; name one with --val" in result.stderr
    assert "no labels" in result.stdout
    result = command("tiny.safetensors", FLAG, "set/images", "--val", "set/more.json", *words)
    assert result.exit_code == 0, result.output
    assert rows(result, "onnx")[0][1:4] == ["mask", "AP", "1.000"]
    result = command("tiny.safetensors", FLAG, "set", *words)
    assert result.exit_code == 2
    assert "--calibration: the folder 'set' holds no picture" in result.stderr


def test_labels_that_were_only_found_do_no_harm(command: Command, labels: Path) -> None:
    content = json.loads(labels.read_text())
    found = content["annotations"][0]["category_id"]
    for category in content["categories"]:
        if category["id"] == found:
            category["name"] = "zebra"
    labels.write_text(json.dumps(content))
    words = ("tiny.safetensors", FLAG, ".", "-o", "out", "--format", "onnx")
    result = command(*words)
    assert result.exit_code == 0, result.output
    assert "does not know the class 'zebra'" in result.stderr
    assert "mask IoU, mean" in result.stdout
    labels.write_text(labels.read_text().replace("file_name", "name"))
    result = command(*words)
    assert result.exit_code == 0, result.output
    assert "note: no picture can be used" in result.stderr
    for image in content["images"]:
        image["file_name"] = f"elsewhere/{image['file_name']}"
    Path("elsewhere").mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(name, "elsewhere")
    labels.write_text(json.dumps(content))
    result = command(*words)
    assert result.exit_code == 0, result.output
    assert "no labels" in result.stdout


def test_many_found_pictures_are_judged_in_part(
    command: Command, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileyolact.cli.quantize.MOST_JUDGED", 1)
    result = command("tiny.safetensors", FLAG, ".", "-o", "out", "--format", "onnx")
    assert result.exit_code == 0, result.output
    assert "average precision on 1 of 2 pictures of labels.json" in result.stdout


def test_small_files(command: Command) -> None:
    result = command("tiny.safetensors", FLAG, ".", "-o", "out", "--weights", "int8")
    assert result.exit_code == 0, result.output
    assert {p.name.split(".")[1] for p in Path("out").iterdir()} == {"small"}
    assert "'mobileyolact export' writes float files" in result.stderr


@pytest.mark.parametrize(
    ("size", "name", "pixels", "least"),
    [((), "tiny", 64, 1.0), (("--size", "96"), "tiny-96", 96, 0.01)],
)
def test_training_first(
    size: tuple[str, ...],
    name: str,
    pixels: int,
    least: float,
    command: Command,
    labels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def run_qat(
        checkpoint: str, record: Any, data: list[Path], directory: Path, **more: Any
    ) -> Any:
        calls.append((checkpoint, data, directory, more))
        network, contract = load_checkpoint(Path(checkpoint))
        for level in network.head.levels:
            level.scores.bias.data.fill_(-200.0)
        best = directory / "best.safetensors"
        save_checkpoint(best, network, contract)
        return type("Result", (), {"best": best})

    monkeypatch.setattr("mobileyolact.quantize.qat.run_qat", run_qat)
    words = ("-o", "out", "--format", "onnx", "--val", labels, "--qat", "--data", labels)
    result = command("tiny.safetensors", FLAG, ".", *words, *size)
    assert result.exit_code == 0, result.output
    ((checkpoint, data, directory, more),) = calls
    assert (data, directory) == ([labels], Path(f"out/{name}.qat"))
    assert load_checkpoint(Path(checkpoint))[1].input_size == (pixels, pixels)
    stems = [
        load_checkpoint(Path(file))[0].backbone.stem.norm.weight
        for file in (checkpoint, "tiny.safetensors")
    ]
    assert not stems[0].equal(stems[1]), "training starts from equalized weights"
    assert more == {"images": None}, "--val judges the result, so it chooses no weights"
    given, trained = (float(cell) for cell in rows(result, "onnx")[0][3:5])
    assert given >= least, "of the float model, whose own masks at 64 pixels are the labels"
    assert trained == 0, "of the written file, which has the trained weights"
    note = json.loads(Path(f"out/{name}.int8.onnx.measured.json").read_text())
    assert note["quantization"] == {"scope": "full", "method": "qat"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("damaged.safetensors", FLAG, "."), "damaged.safetensors is not a whole safetensors"),
        (("paper.safetensors", FLAG, "."), "do not fit preset paper-320"),
        (("other.safetensors", FLAG, "."), "there is no preset 'other-9'"),
        (("missing.safetensors", FLAG, "."), "there is no model file"),
        (("model.onnx", FLAG, "."), "'model.onnx' is a .onnx file, but a .safetensors"),
        (("tiny.safetensors", FLAG, "empty"), "--calibration: the folder 'empty' holds no picture"),
        (("tiny.safetensors", FLAG, "nowhere"), "--calibration: there is no file or folder"),
        (("tiny.safetensors", FLAG, "0.png"), "0.png is of no known label format"),
        (("tiny.safetensors", FLAG, "broken"), "broken.png"),
        (("tiny.safetensors", FLAG, ".", "--val", "no.json"), "there is no label file no.json"),
        (("tiny.safetensors", FLAG, ".", "--val", "labels/zebra.json"), "know the class 'zebra'"),
        (("tiny.safetensors", FLAG, ".", "--format", "onnx,tflite"), "no export format 'tflite'"),
        (("tiny.safetensors", FLAG, ".", "--format", ","), "at least one format"),
        (("tiny.safetensors", FLAG, ".", "--scope", "head"), "there is no scope 'head'"),
        (("tiny.safetensors", FLAG, ".", "--int8-depthwise", "yes"), "convolutions 'yes'"),
        (("tiny.safetensors", FLAG, ".", "--size", "100"), "multiple of 32"),
        (("tiny.safetensors", FLAG, ".", "-o", "0.png"), "cannot write to the folder"),
        (("tiny.safetensors", FLAG, ".", "--weights", "int4"), "--weights knows int8 alone"),
        (("tiny.safetensors", FLAG, ".", "--weights", "int8", "--qat"), "so --qat says nothing"),
        (("tiny.safetensors", FLAG, ".", "--weights", "int8", "--scope", "full"), "so --scope"),
        (("tiny.safetensors", FLAG, ".", "--qat"), "name them with --data LABELS"),
        (("tiny.safetensors", FLAG, ".", "--data", "labels/zebra.json"), "add --qat or leave"),
        (("infinite.safetensors", FLAG, "."), "NaN or infinity on a calibration picture"),
    ],
)
def test_bad_input_gives_one_sentence_and_writes_nothing(
    words: tuple[str, ...], message: str, command: Command, checkpoint: Path, tmp_path: Path
) -> None:
    Path("damaged.safetensors").write_bytes(checkpoint.read_bytes()[:-100])
    Path("model.onnx").write_text("a model")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/broken.png").write_text("no picture here")
    if words[0] in VARIANTS:
        network, contract = load_checkpoint(checkpoint)
        if words[0] == "infinite.safetensors":
            network.backbone.stem.norm.bias.data[0] = float("inf")
        save_checkpoint(Path(words[0]), network, replace(contract, name=VARIANTS[words[0]]))
    write_labels_of_a_zebra(Path("labels/zebra.json"))
    before = sorted(tmp_path.rglob("*"))
    result = command(*words)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def write_labels_of_a_zebra(path: Path) -> None:
    box = {"bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 10, 1, 10, 10]], "area": 40}
    content = {
        "images": [{"id": 1, "file_name": "../0.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "iscrowd": 0, **box}],
        "categories": [{"id": 1, "name": "a"}, {"id": 4, "name": "zebra"}],
    }
    path.parent.mkdir()
    path.write_text(json.dumps(content))
