import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pycocotools")

from mobileyolact.cli import app


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, squares: Callable[..., Any]) -> None:
    """``cat`` finds the cat of every picture, ``dog`` takes it for a dog."""
    placed = {"cat": (4 * 8 + 4, 1, 2.0), "dog": (4 * 8 + 4, 0, 2.0)}
    monkeypatch.setattr(
        "mobileyolact.cli.compare.open_backend_for", lambda model: squares(placed[model])
    )


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Four pictures of 120 x 90 with a cat in the middle, the first with a zebra, too."""
    cat = {"category_id": 17, "bbox": [30, 22.5, 60, 45], "iscrowd": 0, "area": 2700}
    cat["segmentation"] = [[30, 22.5, 90, 22.5, 90, 67.5, 30, 67.5]]
    zebra = {"category_id": 24, "bbox": [1, 1, 20, 10], "iscrowd": 0, "area": 200}
    zebra["segmentation"] = [[1, 1, 21, 1, 21, 11, 1, 11]]
    numbers = range(1, 5)
    names = {17: "cat", 18: "dog", 24: "zebra"}
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 120, "height": 90} for i in numbers],
        "categories": [{"id": i, "name": name} for i, name in names.items()],
        "annotations": [{"id": i, "image_id": i, **cat} for i in numbers]
        + [{"id": 9, "image_id": 1, **zebra}],
    }
    for i in numbers:
        Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / f"{i}.png")
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_table_and_json(labels: Path, tmp_path: Path, runner: CliRunner) -> None:
    file = tmp_path / "new" / "figures.json"
    options = ["--data", str(labels), "--resamples", "50", "--seed", "3", "--json", str(file)]
    result = runner.invoke(app, ["compare", "dog", "cat", *options])
    assert result.exit_code == 0, result.output
    for text in ("4 pictures", "mask AP50", "B is better", "A: dog, squares", "50 resamples"):
        assert text in result.stdout
    assert "A does not know zebra" in result.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["images"], content["resamples"], content["seed"]) == (4, 50, 3)
    assert list(content["differences"]) == ["mask AP", "mask AP50", "box AP"]
    box = content["differences"]["box AP"]
    assert (box["a"], box["b"]) == pytest.approx((0, 0.5)), "the zebra is missed by both"
    assert box["low"] == pytest.approx(0.5)
    assert box["high"] == pytest.approx(1), "some resamples have no zebra"
    again = runner.invoke(app, ["compare", "dog", "cat", *options])
    assert again.stdout == result.stdout


def test_equal_models_are_not_told_apart(labels: Path, runner: CliRunner) -> None:
    options = ["--data", str(labels), "--classes", "cat", "--resamples", "20"]
    result = runner.invoke(app, ["compare", "cat", "cat", *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("not told apart") == 3
    assert result.stdout.count("+0.0000 to +0.0000") == 3


def test_classes_without_instances_have_no_figures(labels: Path, runner: CliRunner) -> None:
    options = ["--data", str(labels), "--classes", "dog", "--resamples", "5"]
    result = runner.invoke(app, ["compare", "cat", "dog", *options])
    assert result.exit_code == 0, result.output
    assert "nan" not in result.stdout
    assert result.stdout.count("no instance") == 3


def test_bad_input_is_one_line(labels: Path, tmp_path: Path, runner: CliRunner) -> None:
    for options in (["--data", str(tmp_path / "no.json")], ["--data", str(labels), "--classes=ct"]):
        result = runner.invoke(app, ["compare", "cat", "cat", *options])
        assert result.exit_code in (1, 2)
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
