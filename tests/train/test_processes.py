"""Two processes equal one at the same total batch, here within 1e-5 of each weight."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import toy_training
from drawn import draw_pictures
from safetensors.torch import load_file

from mobileyolact.errors import OptionError

# As for two GPUs: with --cpu, accelerate starts a single process whatever number it is given.
LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port=0")


def run(folder: Path, *launcher: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *launcher, toy_training.__file__, str(folder), "12", "0", "0"]
    return subprocess.run(
        [*command, "--no-norm"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    assert run(tmp_path / "one").returncode == 0
    two = run(tmp_path / "two", *LAUNCH, "--num_processes=2")
    assert two.returncode == 0, two.stderr
    one = load_file(tmp_path / "one/best.safetensors")
    for name, value in load_file(tmp_path / "two/best.safetensors").items():
        assert torch.allclose(value, one[name], rtol=0, atol=1e-5), name
    alone, shared = (
        [
            json.loads(line)["loss"]
            for line in (tmp_path / name / "log.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    )
    assert len(shared) == 12  # one process alone writes
    assert shared[0] != alone[0]  # and has half of each batch
    again = run(tmp_path / "two", *LAUNCH, "--num_processes=2")
    assert again.returncode == 0, again.stderr


def test_two_processes_are_one_run_of_the_command(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    labels, folder = str(draw_pictures(tmp_path / "drawn")), tmp_path / "run"
    done = subprocess.run(
        [
            sys.executable, *LAUNCH, "--num_processes=2", "-m", "mobileyolact", "train",
            "--data", labels, "--val", labels, "-o", str(folder), "--preset", "n-320",
            "--init", "none", "--iterations", "2", "--batch-size", "4", "--set", "workers=0",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"best weights: {folder / 'best.safetensors'}") == 1
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "loss" in line] == [1, 2]


def test_a_batch_that_cannot_be_shared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 3)
    with pytest.raises(OptionError, match="batch size 4 .*give a multiple of 3"):
        toy_training.train(
            toy_training.ToyNetwork(),
            toy_training.ToyData(4),
            toy_training.toy_losses,
            toy_training.toy_config(),
            toy_training.CONTRACT,
            tmp_path,
        )
