import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mobileyolact import rle, zoo
from mobileyolact.cli import app

# What one picture needs nothing of, and what would take longer to load than the picture to predict.
LATER = {
    "torch",
    "rich",
    "pydantic",
    "av",
    "mobileyolact.cli.train",
    "mobileyolact.cli.videos",
    "mobileyolact.runtime.video",
    "statistics",
    "zipfile",
    "PIL.GifImagePlugin",
}

pytestmark = pytest.mark.usefixtures("one_cat")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.jpg")):
        pixels = np.full((90, 120, 3), 60 + 90 * number, np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_one_picture(photos: Path, tmp_path: Path, runner: CliRunner) -> None:
    out = tmp_path / "out"
    result = runner.invoke(app, ["predict", str(photos / "a.png"), "-o", str(out)])
    assert result.exit_code == 0, result.output
    with Image.open(out / "a.png") as picture:
        drawn = np.asarray(picture)
    assert drawn.shape == (90, 120, 3)
    assert (drawn[45, 60] != 60).any(), "the mask must be drawn"
    assert (drawn[0, 0] == 60).all(), "the rest must stay"
    for word in ("a.png", "cat", "read", "pre-", "network", "post-", "draw", "squares"):
        assert word in result.stdout


def test_the_result_can_be_one_file(photos: Path, tmp_path: Path, runner: CliRunner) -> None:
    target = tmp_path / "new" / "result.jpg"
    result = runner.invoke(app, ["predict", str(photos / "a.png"), "-o", str(target)])
    assert result.exit_code == 0, result.output
    with Image.open(target) as picture:
        assert picture.format == "JPEG"


def test_json_holds_what_was_found(photos: Path, tmp_path: Path, runner: CliRunner) -> None:
    file = tmp_path / "found.json"
    args = ["predict", str(photos), "-o", str(tmp_path / "out"), "--json", str(file)]
    assert runner.invoke(app, args).exit_code == 0
    content = json.loads(file.read_text(encoding="utf-8"))
    assert [Path(image["source"]).name for image in content["images"]] == ["a.png", "b.jpg"]
    assert content["errors"] == []
    for image in content["images"]:
        assert Path(image["picture"]).is_file()
        assert (image["height"], image["width"]) == (90, 120)
        (cat,) = image["instances"]
        assert cat["class_name"] == "cat"
        assert cat["class_id"] == 17
        assert cat["score"] == pytest.approx(0.8808, abs=1e-3)
        # 16..48 of 64 input pixels, in a picture of 120 x 90
        assert cat["box"] == pytest.approx([30, 22.5, 90, 67.5], abs=0.01)
        assert rle.area(cat["mask"]) == pytest.approx(60 * 45, rel=0.05)


@pytest.mark.parametrize(("score", "found"), [("0.8", 1), ("0.9", 0)])
def test_score(score: str, found: int, photos: Path, tmp_path: Path, runner: CliRunner) -> None:
    file = tmp_path / "found.json"
    args = ["predict", str(photos / "a.png"), "-o", str(tmp_path), "--json", str(file)]
    assert runner.invoke(app, [*args, "--score", score]).exit_code == 0
    images = json.loads(file.read_text(encoding="utf-8"))["images"]
    assert len(images[0]["instances"]) == found


def test_an_unreadable_picture_does_not_stop_the_rest(
    photos: Path, tmp_path: Path, runner: CliRunner
) -> None:
    (photos / "aa.png").write_bytes(b"\x89PNG not really")
    file = tmp_path / "found.json"
    args = ["predict", str(photos), str(photos / "gone.jpg"), "-o", str(tmp_path / "out")]
    result = runner.invoke(app, [*args, "--json", str(file)])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)
    assert "gone.jpg" in lines[0]
    assert "aa.png" in lines[1]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg"]
    errors = json.loads(file.read_text(encoding="utf-8"))["errors"]
    assert [Path(error["source"]).name for error in errors] == ["aa.png"]


def test_nothing_found_is_an_error(tmp_path: Path, runner: CliRunner) -> None:
    result = runner.invoke(app, ["predict", str(tmp_path), str(tmp_path / "*.jpg")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_inputs_are_never_overwritten(photos: Path, runner: CliRunner) -> None:
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in photos.iterdir()}
    assert runner.invoke(app, ["predict", str(photos), "-o", str(photos)]).exit_code == 0
    assert {p: hashlib.sha256(p.read_bytes()).digest() for p in before} == before
    assert sorted(p.name for p in photos.iterdir()) == ["a-2.png", "a.png", "b-2.jpg", "b.jpg"]


def test_many_pictures_are_summed_up(photos: Path, tmp_path: Path, runner: CliRunner) -> None:
    for number in range(12):
        (photos / f"copy{number}.png").write_bytes((photos / "a.png").read_bytes())
    result = runner.invoke(app, ["predict", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "14 sources, medians" in " ".join(result.stdout.split())
    assert "14 instances" in result.stdout
    assert "copy3" not in result.stdout


def test_a_folder_that_cannot_be_made_is_one_sentence(
    photos: Path, tmp_path: Path, runner: CliRunner
) -> None:
    (tmp_path / "file").write_text("here")
    result = runner.invoke(app, ["predict", str(photos), "-o", str(tmp_path / "file" / "out")])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_the_embedded_model_loads_what_it_needs_alone(tmp_path: Path) -> None:
    if not any(zoo.ASSETS.rglob("*.onnx")):
        pytest.skip("no weights are embedded yet")
    data = pytest.importorskip("skimage").__path__[0] + "/data/chelsea.png"
    photo, file = tmp_path / "photo.jpg", tmp_path / "found.json"
    Image.open(data).convert("RGB").save(photo)
    args = ["predict", str(photo), "-o", str(tmp_path / "out"), "--json", str(file)]
    code = (
        f"import sys\nfrom mobileyolact.cli import main\nsys.argv = ['mobileyolact', *{args!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end\n"
        f"LATER = {LATER!r}\n"
        "assert not LATER & set(sys.modules), LATER & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    names = [i["class_name"] for i in json.loads(file.read_text())["images"][0]["instances"]]
    assert "cat" in names
