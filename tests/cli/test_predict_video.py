"""``predict`` on videos and cameras, with a model that finds one cat in every frame."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from mobileyolact import zoo
from mobileyolact.cli import app, needs
from mobileyolact.cli.progress import PredictProgress
from mobileyolact.runtime import camera
from mobileyolact.runtime.video import Frame, VideoReader

pytestmark = pytest.mark.usefixtures("one_cat")


def frames_of(path: Path) -> list[Frame]:
    with VideoReader(path) as reader:
        return list(reader)


@pytest.fixture
def clip(tmp_path: Path, write_frames: Callable[..., Path], moving: Callable[..., Any]) -> Path:
    """Ten frames at uneven times."""
    ticks = [0, 20, 41, 100, 119, 180, 400, 420, 430, 500]
    return write_frames(tmp_path / "clip.mp4", moving(10), ticks, Fraction(1, 600))


def test_a_video(clip: Path, tmp_path: Path, runner: CliRunner) -> None:
    out = tmp_path / "new" / "out.mp4"
    result = runner.invoke(app, ["predict", str(clip), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "10 instances in 10 frames" in result.stdout
    before, after = frames_of(clip), frames_of(out)
    assert [frame.time for frame in after] == [frame.time for frame in before]
    colours = []
    for old, new in zip(before, after, strict=True):
        assert new.pixels[:8, :8] == pytest.approx(old.pixels[:8, :8], abs=30), "outside the mask"
        change = new.pixels[40:46, 64:70].astype(int) - old.pixels[40:46, 64:70]
        assert np.abs(change).max() > 20, "the mask must be drawn"
        colours.append(change.mean(axis=(0, 1)))
    # The bar passes below the mask once; apart from that nothing may flicker.
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() < 6


def test_names_and_a_second_run(clip: Path, tmp_path: Path, runner: CliRunner) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "clip.mov").write_bytes(clip.read_bytes())
    args = ["predict", str(tmp_path / "*.mp4"), str(tmp_path / "sub" / "*"), "-o", str(tmp_path)]
    for _ in range(2):
        result = runner.invoke(app, args)
        assert result.exit_code == 0, result.output
        found = sorted(path.name for path in tmp_path.iterdir())
        assert found == ["clip-2.mp4", "clip-3.mp4", "clip.mp4", "sub"]


def test_pictures_and_videos_with_json_lines(clip: Path, tmp_path: Path, runner: CliRunner) -> None:
    Image.new("RGB", (60, 45)).save(tmp_path / "a.png")
    (tmp_path / "text.jpg").write_text("text")
    file = tmp_path / "found.jsonl"
    sources = [str(tmp_path / "a.png"), str(clip), str(tmp_path / "text.jpg")]
    args = ["predict", *sources, "-o", str(tmp_path / "out"), "--json", str(file)]
    result = runner.invoke(app, args)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    picture, *frames, error = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert picture["source"] == sources[0]
    assert "is not a picture" in error["error"]
    assert error["source"] == sources[2]
    assert [frame["frame"] for frame in frames] == list(range(10))
    times = [float(frame.time) for frame in frames_of(clip)]
    assert [frame["time"] for frame in frames] == pytest.approx(times, abs=1e-6)
    for frame in frames:
        assert frame["source"] == str(clip)
        assert (frame["height"], frame["width"]) == (64, 96)
        assert [instance["class_name"] for instance in frame["instances"]] == ["cat"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.png",
        "clip.mp4",
        "found.jsonl",
        "out",
        "text.jpg",
    ]


def test_a_video_that_was_cut_off_gives_its_beginning(
    tmp_path: Path, runner: CliRunner, write_frames: Callable[..., Path]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
    clip = write_frames(tmp_path / "clip.mp4", list(noise), movflags="faststart")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    out, file = tmp_path / "out.mp4", tmp_path / "found.jsonl"
    args = ["predict", str(clip), "-o", str(out), "--json", str(file)]
    result = runner.invoke(app, args)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "clip.mp4 is damaged" in line
    *frames, error = map(json.loads, file.read_text().splitlines())
    assert 5 < len(frames) == len(frames_of(out)) < 15
    assert "is damaged" in error["error"]


class Interrupting:
    """A model whose user presses Ctrl-C at the third picture."""

    def __init__(self, backend: Any, number: int) -> None:
        self.backend, self.number, self.runs = backend, number, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def run(self, tensor: Any) -> Any:
        self.runs += 1
        if self.runs == 3:
            os.kill(os.getpid(), self.number)
        return self.backend.run(tensor)


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def interrupted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, squares: Callable[..., Any]
) -> int:
    number: int = request.param
    backend = Interrupting(squares((4 * 8 + 4, 1, 2.0)), number)
    monkeypatch.setattr("mobileyolact.cli.predict.open_backend_for", lambda *_: backend)
    return number


def test_an_interrupted_video_is_complete_up_to_there(
    interrupted: int, clip: Path, tmp_path: Path, runner: CliRunner
) -> None:
    out, file = tmp_path / "out", tmp_path / "found.jsonl"
    (tmp_path / "later.mp4").write_bytes(clip.read_bytes())
    args = ["predict", str(clip), str(tmp_path / "later.mp4"), "-o", str(out), "--json", str(file)]
    result = runner.invoke(app, args)
    assert result.exit_code == 128 + interrupted
    lines = result.stderr.splitlines()
    assert lines == [
        f"{clip}: stopped; {out / 'clip.mp4'} holds the first 3 of 10 frames",
        "stopped after 1 of 2 sources",
    ]
    assert [path.name for path in out.iterdir()] == ["clip.mp4"]
    assert [f.time for f in frames_of(out / "clip.mp4")] == [f.time for f in frames_of(clip)[:3]]
    assert len(file.read_text().splitlines()) == 3
    assert signal.getsignal(interrupted) not in (None, signal.SIG_IGN)


def test_interrupted_pictures_end_after_the_one_at_hand(
    interrupted: int, tmp_path: Path, runner: CliRunner
) -> None:
    for number in range(9):
        Image.new("RGB", (60, 45)).save(tmp_path / f"{number}.png")
    out, file = tmp_path / "out", tmp_path / "found.json"
    result = runner.invoke(app, ["predict", str(tmp_path), "-o", str(out), "--json", str(file)])
    assert result.exit_code == 128 + interrupted
    done = len(json.loads(file.read_text())["images"])
    # The third run may be of a picture that is worked on ahead.
    assert 1 <= done <= 3
    assert result.stderr.splitlines() == [f"stopped after {done} of 9 sources"]
    assert sorted(path.name for path in out.iterdir()) == [f"{n}.png" for n in range(done)]


@pytest.fixture
def stand_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_frames: Callable[..., Path],
    moving: Callable[..., Any],
) -> None:
    """A file of 8 frames in place of every camera."""
    path = write_frames(tmp_path / "camera.avi", moving(8), codec="mjpeg")
    opened = cv2.VideoCapture
    monkeypatch.setattr(camera, "_may_exist", lambda index: True)
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: opened(str(path)))


@pytest.mark.usefixtures("stand_in")
def test_a_camera_is_stopped_by_a_signal(
    interrupted: int, tmp_path: Path, runner: CliRunner
) -> None:
    result = runner.invoke(app, ["predict", "camera:0", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, "that is how a camera ends"
    target = tmp_path / "out" / "camera-0.mp4"
    assert result.stderr.splitlines() == [
        f"camera:0: stopped; {target} holds the first 3 frames",
    ]
    assert len(frames_of(target)) == 3


@pytest.mark.usefixtures("stand_in")
def test_a_camera_that_goes_away(tmp_path: Path, runner: CliRunner) -> None:
    result = runner.invoke(app, ["predict", "camera:0", "-o", str(tmp_path / "out.mkv")])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line == "error: camera:0 gives no more pictures; connect it again"
    times = [frame.time for frame in frames_of(tmp_path / "out.mkv")]
    assert len(times) == 8
    assert times == sorted(set(times))


def test_without_pyav_the_extra_is_named(
    tmp_path: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    (tmp_path / "clip.mp4").touch()
    result = runner.invoke(app, ["predict", str(tmp_path / "clip.mp4"), "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "clip.mp4' needs av" in result.stderr
    assert "pip install 'mobileyolact[video]'" in result.stderr


def test_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([100.0, 120.0, 131.0, 140.0, 162.0])
    with PredictProgress(1, clock=lambda: next(clock)) as progress:
        progress.begin("two\nlines.mp4", 300)
        progress.frame(20)
        progress.frame(62)
        progress.frame(80)
        progress.frame(124)
        progress.advance()
    assert capsys.readouterr().err.splitlines() == [
        r"two\nlines.mp4: frame 62/300, 2.0 frames/s, 0:01:59 left",
        r"two\nlines.mp4: frame 124/300, 2.0 frames/s, 0:01:28 left",
    ]


def test_progress_on_a_terminal() -> None:
    clock = iter([100.0, 110.0])
    console = Console(width=120, force_terminal=True, record=True)
    with PredictProgress(2, console, clock=lambda: next(clock)) as progress:
        progress.advance()
        progress.begin("clip[b].mp4", None)
        progress.frame(25)
        progress.say("note: :heart: [b]")
    shown = console.export_text()
    for part in ("1/2", "clip[b].mp4", "frame 25, 2.5 frames/s", "note: :heart: [b]"):
        assert part in shown


def test_pictures_alone_do_not_load_pyav(tmp_path: Path) -> None:
    if not any(zoo.ASSETS.rglob("*.onnx")):
        pytest.skip("no weights are embedded yet")
    Image.new("RGB", (60, 45)).save(tmp_path / "a.png")
    code = (
        "import sys\nfrom mobileyolact.cli import app\n"
        f"app(['predict', {str(tmp_path)!r}, '-o', {str(tmp_path / 'out')!r}],"
        " standalone_mode=False)\n"
        "assert not {'av', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
