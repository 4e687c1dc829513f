"""A run that is killed loses at most the iterations since its last checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import toy_training
from safetensors.torch import load_file

from mobileyolact.train.checkpoint import read_state

CHECKPOINT_EVERY = toy_training.toy_config().checkpoint_every


def start(folder: Path, iterations: int, pause: float, workers: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, toy_training.__file__, folder, iterations, pause, workers]
    return subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def logged(folder: Path) -> int:
    """Iterations in the log, whose last line may be cut."""
    log = folder / "log.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def wait_until_logged(folder: Path, iterations: int) -> None:
    end = time.monotonic() + 60
    while logged(folder) < iterations:
        assert time.monotonic() < end, "the run did not start within a minute"
        time.sleep(0.005)


def test_killed_at_any_moment_it_goes_on_and_ends_alike(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    for target in (2, 17, 31):
        process = start(folder, 45, 0.01)
        wait_until_logged(folder, target)
        process.kill()
        process.communicate()
        for path in folder.glob("[!.]*.safetensors"):
            load_file(path)
        reached, kept = logged(folder), read_state(folder / "last.safetensors").iteration
        assert reached - CHECKPOINT_EVERY <= kept <= reached

    messages = start(folder, 45, 0).communicate()[1]
    assert f"going on after iteration {kept}" in messages
    start(tmp_path / "whole", 45, 0).communicate()
    for name in ("last.safetensors", "best.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
        "tensorboard",
    ]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, 46))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_in_order(tmp_path: Path, number: int) -> None:
    command = [sys.executable, toy_training.__file__, str(tmp_path), "100000", "0.01", "1"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    wait_until_logged(tmp_path, 4)
    os.killpg(process.pid, number)
    messages = process.communicate(timeout=60)[1]
    assert "TrainingStopped: stopped after iteration" in messages
    assert read_state(tmp_path / "last.safetensors").iteration == logged(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    process = start(tmp_path, 100_000, 0.01, workers=1)
    wait_until_logged(tmp_path, 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while any(_is_alive(child) for child in children):
        assert time.monotonic() < end, "a worker has outlived its run"
        time.sleep(0.05)


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
