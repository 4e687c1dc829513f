import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import cv2
import numpy as np
from typer.testing import CliRunner

from mobileyolact.cli import app

MAIN = "from mobileyolact.cli import main; main()"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 40, 40], "area": 1600,
                "iscrowd": 0, "segmentation": [[8, 8, 48, 8, 48, 48, 8, 48]],
            }
        ],
    }  # fmt: skip
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return path


def options(labels: Path, folder: Path, iterations: int) -> list[str]:
    return [
        "train", "--data", str(labels), "-o", str(folder), "--preset", "n-320", "--init", "none",
        "--iterations", str(iterations), "--batch-size", "1", "--threads", "1",
    ]  # fmt: skip


def test_an_interrupted_command_goes_on_when_given_again(labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *options(labels, folder, 6)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "log.jsonl"
    while not (log.exists() and log.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "run the same command again to go on" in errors
    assert "Traceback" not in errors

    done = CliRunner().invoke(app, options(labels, folder, 6))
    assert done.exit_code == 0, done.output
    assert f"best weights: {folder / 'best.safetensors'}" in done.output
    iterations = [json.loads(line)["iteration"] for line in log.read_text().splitlines()]
    assert iterations == [1, 2, 3, 4, 5, 6]

    other = CliRunner().invoke(app, options(labels, folder, 7))
    assert other.exit_code == 2
    assert "iterations 6, but this command says 7" in other.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--unlabelled", "."], "pictures without labels need a teacher"),
        (["--preset", "n-415"], "nearest one is 'n-416'"),
        (["--init", "cocoo"], "no start 'cocoo'"),
        (["--freeze", "head"], "freeze"),
        (["--iterations", "0"], "iterations"),
    ],
)
def test_a_wrong_option_is_one_line(
    labels: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, [*options(labels, tmp_path / "run", 1), *more])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_there_must_be_something_to_train_on(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "there is nothing to train on; give --data LABELS" in result.output
