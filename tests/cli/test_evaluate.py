import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pycocotools")

from mobileyolact.cli import app


@pytest.fixture(autouse=True)
def one_cat_everywhere(one_cat: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobileyolact.cli import predict

    monkeypatch.setattr("mobileyolact.cli.evaluate.open_backend_for", predict.open_backend_for)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two pictures of 120 x 90 with a cat where ``one_cat`` sees it, one with a zebra, too."""
    cat = {"category_id": 17, "bbox": [30, 22.5, 60, 45], "iscrowd": 0, "area": 2700}
    cat["segmentation"] = [[30, 22.5, 90, 22.5, 90, 67.5, 30, 67.5]]
    zebra = {"category_id": 24, "bbox": [1, 1, 20, 10], "iscrowd": 0, "area": 200}
    zebra["segmentation"] = [[1, 1, 21, 1, 21, 11, 1, 11]]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 120, "height": 90} for i in (1, 2)],
        "categories": [{"id": 17, "name": "cat"}, {"id": 24, "name": "zebra"}],
        "annotations": [
            {"id": 1, "image_id": 1, **cat},
            {"id": 2, "image_id": 2, **cat},
            {"id": 3, "image_id": 2, **zebra},
        ],
    }
    for i in (1, 2):
        Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / f"{i}.png")
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_tables_and_json(labels: Path, tmp_path: Path, runner: CliRunner) -> None:
    file = tmp_path / "new" / "figures.json"
    result = runner.invoke(app, ["evaluate", "any", "--data", str(labels), "--json", str(file)])
    assert result.exit_code == 0, result.output
    for text in ("2 pictures", "AP50", "small", "mask", "box", "zebra", "mean IoU", "squares"):
        assert text in result.stdout
    assert "does not know zebra: counted as missed" in result.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["images"] == 2
    assert content["box"]["per_class"]["cat"] == {"AP": 1.0, "AP50": 1.0, "instances": 2}
    assert content["box"]["AP"] == pytest.approx(0.5)
    assert content["mask"]["APl"] is None
    assert [path.name for path in file.parent.iterdir()] == ["figures.json"]


def test_classes(labels: Path, tmp_path: Path, runner: CliRunner) -> None:
    file = tmp_path / "figures.json"
    args = ["evaluate", "any", "--data", str(labels), "--classes", "cat,", "--json", str(file)]
    result = runner.invoke(app, args)
    assert result.exit_code == 0, result.output
    assert "zebra" not in result.output
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["box"]["AP"] == content["box"]["AP50"] == 1
    assert content["mask"]["AP50"] == 1


def test_a_wrong_class_is_one_line(labels: Path, runner: CliRunner) -> None:
    result = runner.invoke(app, ["evaluate", "any", "--data", str(labels), "--classes", "cta"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "'cat'" in result.stderr


def test_bad_annotations_are_reported_but_not_all_of_them(labels: Path, runner: CliRunner) -> None:
    content = json.loads(labels.read_text(encoding="utf-8"))
    content["annotations"] += [{"id": i, "image_id": 99, "category_id": 17} for i in range(10, 20)]
    labels.write_text(json.dumps(content), encoding="utf-8")
    result = runner.invoke(app, ["evaluate", "any", "--data", str(labels), "--classes", "cat"])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "annotation 10" in lines[0]
    assert len(lines) == 6
    assert "5 more" in lines[-1]


def test_missing_labels_are_one_line(tmp_path: Path, runner: CliRunner) -> None:
    result = runner.invoke(app, ["evaluate", "any", "--data", str(tmp_path / "no.json")])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "no.json" in result.stderr
