"""Places that cannot be written, and pictures that nearly fill the memory: with the real model."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileyolact import zoo

resource = pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

pytestmark = pytest.mark.skipif(
    not any(zoo.ASSETS.rglob("*.onnx")), reason="no weights are embedded yet"
)

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def predict_with_limit(limit: int, *args: object) -> subprocess.CompletedProcess[str]:
    """Run ``predict`` where no file may grow beyond ``limit`` bytes, as on a disk nearly full.

    The system then takes the first part of what is written and refuses the rest.
    """

    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "mobileyolact", "predict", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=set_limit)


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: cannot write ")
    return line


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A small picture, one whose result takes 20 kB, and another small one."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (60, 45)).save(folder / "a.png")
    Image.fromarray(NOISE).save(folder / "b.png")
    Image.new("RGB", (60, 45)).save(folder / "c.png")
    return folder


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp"])
def test_nothing_half_written_is_left_on_a_full_disk(
    name: str, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = predict_with_limit(3_000, pictures / "b.png", "-o", out / name)
    assert name in only_line(result)
    assert list(out.iterdir()) == []


def test_a_full_disk_ends_the_run_and_what_was_done_is_kept(pictures: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "found.json"
    result = predict_with_limit(10_000, pictures, "-o", out, "--json", file)
    assert "b.png" in only_line(result)
    assert "a.png" in result.stdout
    assert [path.name for path in out.iterdir()] == ["a.png"]
    with Image.open(out / "a.png") as picture:
        picture.load()
    assert file.is_file()


def test_no_room_for_the_json(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("old")
    small = pictures / "a.png"
    args = (small, "-o", tmp_path / "out", "--json", tmp_path / "found.json")
    result = predict_with_limit(200, *args)  # enough for the picture
    assert "found.json" in only_line(result)
    assert "a.png" in result.stdout
    assert (tmp_path / "found.json").read_text() == "old"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(("limit", "json"), [(30_000, False), (1_000, False), (12_000, True)])
def test_a_video_on_a_full_disk(
    limit: int, json: bool, tmp_path: Path, write_frames: Callable[..., Path], moving: Any
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 64, 96, 3), dtype=np.uint8)
    frames = moving(40) if json else list(noise)
    clip = write_frames(tmp_path / "clip.mp4", frames)
    out, file = tmp_path / "out", tmp_path / "found.jsonl"
    args = ["--json", file, "--score", "0.0001"] if json else []
    result = predict_with_limit(limit, clip, "-o", out, *args)
    assert ("found.jsonl" if json else "clip.mp4") in only_line(result)
    assert not list(tmp_path.rglob("*.part"))
    assert not out.exists() or list(out.iterdir()) == []
    assert not file.exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere"
)
def test_a_folder_that_may_not_be_written(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    command = [sys.executable, "-m", "mobileyolact", "predict", pictures, "-o", tmp_path / "out"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "Permission denied" in only_line(result)


# Pictures of 10000 x 10000 of a cat, as their makers' programs write them.
LARGE = """
import sys
import numpy as np
from PIL import Image

Image.MAX_IMAGE_PIXELS = None
with Image.open(sys.argv[1]) as cat:
    cat = cat.convert("RGB").resize((10_000, 10_000))
    kind = sys.argv[3]
    exif = Image.Exif()
    if kind == "turned.jpg":
        exif[0x0112] = 6
        cat = cat.rotate(90)
    elif kind == "alpha.png":
        cat.putalpha(220)
    elif kind == "deep.tif":
        cat = Image.fromarray(np.asarray(cat.convert("L")).astype(np.uint16) * 257)
    cat.save(sys.argv[2], **({"compress_level": 1} if kind == "alpha.png" else {}), exif=exif)
"""

PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "mobileyolact", "predict", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts otherwise elsewhere")
@pytest.mark.parametrize("kind", ["plain.jpg", "turned.jpg", "alpha.png", "deep.tif"])
def test_100_megapixels_take_less_than_1_gb(kind: str, tmp_path: Path) -> None:
    cat = Path(pytest.importorskip("skimage").__path__[0]) / "data" / "chelsea.png"
    picture, file = tmp_path / kind, tmp_path / "found.json"
    subprocess.run([sys.executable, "-c", LARGE, cat, picture, kind], check=True)
    command = [sys.executable, "-c", PEAK, picture, "-o", tmp_path / "out", "--json", file]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    *_, peak_kb = result.stdout.splitlines()
    assert int(peak_kb) * 1024 < 1e9
    assert '"mask"' in file.read_text(), "masks must have been drawn and encoded"
    (drawn,) = (tmp_path / "out").iterdir()
    assert drawn.suffix == (".jpg" if kind.endswith(".jpg") else ".png")
    assert drawn.stat().st_size > 1e6
