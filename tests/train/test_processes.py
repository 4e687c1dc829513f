"""Two processes equal one at the same total batch, as far as float32 sums do in another order.

The toy's weights agree within 1e-5. The real network's, with the statistics of its norms frozen,
agree within 1e-4 after three iterations at rates that move them by up to 3e-3, and every loss
within a thousandth: AdamW turns the smallest gradients, which are all rounding, into full steps.
"""

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
from mobileyolact.train.processes import mean_over_processes

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
    assert shared == pytest.approx(alone, rel=1e-5)  # one process alone writes, for both
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


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--teacher", "coco", "--set", "teacher_feature_weight=1", "--set", "multi_scale=0.2"],
    ],
    ids=["labels", "teacher"],
)
def test_two_processes_equal_one_with_the_real_network(tmp_path: Path, more: list[str]) -> None:
    labels = draw_pictures(tmp_path / "drawn")
    content = json.loads(labels.read_text().replace("disc", "frisbee").replace("square", "tv"))
    # Pictures with one, two and no objects, so that no process has half of them.
    kept = [a for a in content["annotations"] if a["id"] not in (1, 2, 4)]
    content["annotations"] = kept
    labels.write_text(json.dumps(content))
    draw_pictures(tmp_path / "more", seed=1).unlink()
    if more:
        more = [*more, "--unlabelled", str(tmp_path / "more")]

    def train(name: str, *launcher: str) -> list[dict[str, float]]:
        done = subprocess.run(
            [
                sys.executable, *launcher, "-m", "mobileyolact", "train", "--data", str(labels),
                "-o", str(tmp_path / name), "--preset", "n-320", "--iterations", "3",
                "--batch-size", "4", "--set", "workers=0", *more,
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        text = (tmp_path / name / "log.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]

    alone, shared = train("one"), train("two", *LAUNCH, "--num_processes=2")
    for a, b in zip(alone, shared, strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-6)
    one = load_file(tmp_path / "one/best.safetensors")
    for name, value in load_file(tmp_path / "two/best.safetensors").items():
        assert torch.allclose(value.float(), one[name].float(), rtol=0, atol=1e-4), name


def test_the_mean_of_a_single_process_is_the_value() -> None:
    value = torch.tensor([1.0, -2.0], requires_grad=True)
    mean = mean_over_processes(value)
    assert torch.equal(mean, value) and not mean.requires_grad
    assert mean_over_processes(torch.tensor(0), least=1.0) == 1.0
    assert torch.equal(value, torch.tensor([1.0, -2.0]))


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
