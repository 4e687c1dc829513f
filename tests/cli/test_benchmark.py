"""``mobileyolact benchmark`` as a user types it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mobileyolact.benchmark import projecting
from mobileyolact.benchmark.device import Device
from mobileyolact.benchmark.projecting import Network
from mobileyolact.benchmark.projection import Errors, Estimate, Host, Projection
from mobileyolact.benchmark.results import STAGES, Benchmark, Measured, Spread
from mobileyolact.cli import app
from mobileyolact.cli.benchmark_tables import show

Command = Callable[..., Result]
Write = Callable[..., Path]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """With one round of one picture, in a folder of its own."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    for name in ("ROUNDS", "_PICTURES", "_WARM_UP", "_APART"):
        monkeypatch.setattr(f"mobileyolact.benchmark.timing.{name}", 1)
    return lambda *words: CliRunner().invoke(app, ["benchmark", *map(str, words)])


def test_ours_beside_those_of_others(
    run: Command, foreign_onnx: Write, foreign_ncnn: Write
) -> None:
    before = dict(os.environ)
    foreign_ncnn("")
    words = ("coco", foreign_onnx().name, "other.param", "--input-size", "64x32")
    result = run(*words, "--instances", 12, "--image-size", "320x240", "--json", "out.json")
    assert result.exit_code == 0, result.output
    assert dict(os.environ) == before
    content = json.loads(Path("out.json").read_text())
    assert set(content) == {"device", "models", "decode", "draw"}
    assert content["device"]["cores"] >= 1
    ours, *others = content["models"]
    for model in content["models"]:
        assert list(model) == ["name", "threads", "file_bytes", "peak_rss_bytes", "stages"]
        assert list(model["stages"]) == list(STAGES)
        assert model["threads"] == 1
    assert [model["name"] for model in content["models"]] == ["coco", "other.onnx", "other.param"]
    assert others[1]["file_bytes"] == sum(
        Path(name).stat().st_size for name in ("other.param", "other.bin")
    )
    for spread in (*ours["stages"].values(), content["decode"], content["draw"]):
        assert 0 < spread["min_ms"] <= spread["median_ms"] <= spread["p90_ms"]
    parts = sum(ours["stages"][name]["median_ms"] for name in STAGES[:3])
    assert ours["stages"]["total"]["median_ms"] == pytest.approx(parts, abs=0.001), "one picture"
    for other in others:
        measured = [name for name, spread in other["stages"].items() if spread]
        assert measured == ["network"]
    assert "12 instances" in result.stdout
    assert "320x240" in result.stdout
    assert "the network is timed alone" in result.stdout


def test_a_picture_of_the_user(run: Command) -> None:
    Image.new("RGB", (40, 30)).save("photo.png")
    Path("numpy.py").write_text("a file of the user's that the processes must not import")
    result = run("coco", "--image", "photo.png", "--threads", "1, 1")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("preprocess") == 1
    assert "coco: onnxruntime" in result.stdout
    assert "0 instances" in result.stdout
    assert "picture of 40x30 pixels" in result.stdout


def test_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    device = Device("Some CPU", 2, (), "Linux", "3.12", {"ncnn": "1.0"}, 0.02)
    stages = dict.fromkeys(STAGES, Spread(10.0, 12.0, 9.0))
    alone = {**dict.fromkeys(STAGES), "network": Spread(40.0, 41.0, 39.0)}
    models = (
        Measured("[red]/yolo.onnx", 1, "onnxruntime 2", None, 5_000_000, None, alone),
        Measured("a/x.onnx", 1, "onnxruntime 2", 10, 2_000_000, 90_000_000, stages),
        Measured("b/x.onnx", 1, "onnxruntime 2", 10, 2_000_000, 90_000_000, stages),
    )
    show(Benchmark(device, (64, 48), models, Spread(1, 2, 3), Spread(4, 5, 6)))
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert "Some CPU, 2 cores, Linux, load 0.02; Python 3.12, ncnn 1.0" in out
    assert ["yolo.onnx", "network", "40.00", "41.00", "39.00", "1.00"] in lines
    assert ["a/x.onnx", "preprocess", "10.00", "12.00", "9.00", "-"] in lines
    assert lines.count(["total", "10.00", "12.00", "9.00", "0.25"]) == 2
    assert "b/x.onnx: onnxruntime 2; 2.00 MB; peak memory 90 MB; 10 instances" in out
    assert "yolo.onnx: onnxruntime 2; 5.00 MB\n" in out
    assert "from JPEG 1.00 ms (p90 2.00, min 3.00), drawing 10 instances 4.00 ms" in out


@pytest.mark.parametrize("load", [0.1, 1.5])
def test_a_busy_machine_is_warned_of(
    load: float, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    result = run("coco", "--image", "none.png")
    first, *rest = result.stderr.splitlines()
    assert (rest or [first])[-1].startswith("error: there is no picture at none.png")
    assert bool(rest) == (load > 0.3)
    if rest:
        assert first.startswith("warning: in the last minute 1.50 cores were busy")


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("cocoa",), "no model named 'cocoa'; the nearest one is 'coco'", 2),
        (("none.onnx",), "there is no model file 'none.onnx'", 1),
        (("none.param",), "there is no model file 'none.param'", 1),
        (("broken.onnx",), "ONNX Runtime cannot load broken.onnx", 1),
        (("broken.param",), "broken.param is damaged or no ncnn file", 1),
        (("lonely.param",), "there is no model file lonely.bin", 1),
        (("photo.png",), "is no model file", 2),
        (("coco", "--backend", "onnxrt"), "there is no backend 'onnxrt'", 2),
        (("coco", "--threads", "0"), "--threads must be numbers such as 1 or 1,2, got '0'", 2),
        (("coco", "--threads", "one"), "--threads must be numbers", 2),
        (("coco", "--threads", "1,,2"), "--threads must be numbers", 2),
        (("coco", "--image-size", "640"), "--image-size must be a width and a height", 2),
        (("coco", "--image-size", "0x5"), "--image-size must be a width and a height", 2),
        (("coco", "--image-size", "20000x20000"), "more than the limit", 1),
        (("coco", "--input-size", "axb"), "--input-size must be a width and a height", 2),
        (("coco", "--image", "broken.onnx"), "is not a picture", 1),
    ],
)
def test_bad_input_gives_one_sentence(
    words: tuple[str, ...],
    message: str,
    code: int,
    run: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    for name in ("broken.onnx", "broken.param", "broken.bin"):
        Path(name).write_text("no model")
    Path("lonely.param").write_text("7767517\n0 0\n")
    Image.new("RGB", (4, 3)).save("photo.png")
    before = sorted(Path().iterdir())
    result = run(*words, "--json", "out.json")
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert sorted(Path().iterdir()) == before


def test_a_checkpoint_takes_threads(run: Command, checkpoint: Path) -> None:
    result = run(checkpoint.name, "--threads", 1, "--image-size", "64x48")
    assert result.exit_code == 0, result.output
    assert "tiny.safetensors: PyTorch" in result.stdout


def test_times_on_phones(
    run: Command, foreign_onnx: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Network] = []

    def estimate(networks: list[Network], **_: object) -> Projection:
        asked.extend(networks)
        estimates = (
            Estimate("Galaxy", 1, True, 40.0, 25.0, 50.0),
            Estimate("Galaxy", 4, False, 20.0, 12.5, 25.0),
        )
        errors = Errors(17, 0.11, 0.29, 0.8, 1.25)
        return Projection(
            hosts={"coco": Host(30.0, 60.0)},
            estimates={network.name: estimates for network in networks},
            errors=errors,
            full=errors,
            short=errors,
        )

    monkeypatch.setattr(projecting, "run_projection", estimate)
    result = run("coco", foreign_onnx().name, "--project", "--input-size", "64x32", "--json", "x")
    assert result.exit_code == 0, result.output
    assert [network.name for network in asked] == ["coco"]
    assert asked[0].path.name == "n-416.ncnn.param"
    assert "warning: times on phones are estimated of ncnn files" in result.stderr
    assert "'other.onnx'" in result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("Galaxy")]
    assert rows[0] == ["Galaxy", "1*", "40.0", "25.0", "-", "50.0", "25", "20", "-", "40"]
    assert rows[1] == ["Galaxy", "4", "20.0", "12.5", "-", "25.0", "50", "40", "-", "80"]
    assert "median 11%, p90 29% (17 times)" in result.stdout
    content = json.loads(Path("x").read_text())
    assert list(content) == ["device", "models", "decode", "draw", "projection"]
    assert content["projection"]["models"][0]["devices"][1]["fps"] == 50


def test_times_on_phones_of_nothing(run: Command) -> None:
    result = run("coco-int8", "--project")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: times on phones are estimated of ncnn files in float")
