"""The commands of docs/train-coco.md as they stand there, on a few pictures and two processes."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pycocotools")

from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "train-coco.md"
# What is made small; everything else is run as the page says it.
SMALL = {
    "--batch-size": "4",
    "--iterations": "2",
    "--num_processes": "2",
    "--main_process_ip": "127.0.0.1",
    "workers": "0",
    "validate_every": "2",
    "warmup_iterations": "1",
}

pytestmark = pytest.mark.slow


def commands() -> list[list[str]]:
    """The words of each command in the page's fenced blocks, in their order."""
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for b in blocks for line in b.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [w for w in words if w and w[0] in ("mobileyolact", "accelerate", "python")]


def command(*marks: str) -> list[str]:
    """The one command that has all of these words."""
    (found,) = [words for words in commands() if set(marks) <= set(words)]
    return found


def made_small(words: Sequence[str]) -> list[str]:
    small = []
    for before, word in pairwise(["", *words]):
        name, _, value = word.partition("=")
        if before == "--set":
            small.append(f"{name}={SMALL.get(name, value)}")
        else:
            small.append(SMALL.get(before, word))
    return small


@pytest.fixture(scope="module")
def home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``coco`` in it, laid out as the archives of COCO unpack."""
    folder = tmp_path_factory.mktemp("home")
    source = shared.resolve() / "data/coco-mini"
    (folder / "coco/annotations").mkdir(parents=True)
    for split, count in (("train", 12), ("val", 4)):
        content = json.loads((source / f"{split}.json").read_text())
        content["images"] = content["images"][:count]
        ids = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
        name = f"{split}2017"
        (folder / "coco/annotations" / f"instances_{name}.json").write_text(json.dumps(content))
        (folder / "coco" / name).mkdir()
        for image in content["images"]:
            link = folder / "coco" / name / image["file_name"]
            link.symlink_to(source / "images" / image["file_name"])
    (folder / "research").symlink_to(ROOT / "research")
    return folder


def start(words: Sequence[str], home: Path) -> "subprocess.Popen[str]":
    tools = Path(sys.executable).parent
    return subprocess.Popen(
        made_small(words),
        cwd=home,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{tools}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(words: Sequence[str], home: Path) -> str:
    process = start(words, home)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"{shlex.join(words)}\n{output}"
    return output


def check_run(words: Sequence[str], output: str, home: Path) -> None:
    """One run of two iterations, validated once at its end, by one process alone."""
    folder = words[words.index("-o") + 1]
    assert output.count(f"best weights: {folder}/best.safetensors") == 1
    assert "data: 12 pictures" in output
    assert "validation: 4 pictures" in output
    lines = [json.loads(x) for x in (home / folder / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "loss" in line] == [1, 2]
    assert [line["iteration"] for line in lines if "validation" in line][-1] == 2
    assert load_file(home / folder / "best.safetensors")


def test_one_gpu_then_evaluate_and_export(home: Path) -> None:
    words = command("train", "runs/n-416")
    check_run(words, run(words, home), home)
    run(words, home)  # finished: the same command goes on with nothing
    run(command("evaluate", "runs/n-416/best.safetensors"), home)
    assert json.loads((home / "runs/n-416/val2017.json").read_text())["images"] == 4
    run(command("export"), home)
    assert run(command("evaluate", "model/best.onnx"), home).startswith("4 pictures")


def test_eight_gpus_as_two_processes(home: Path) -> None:
    words = command("launch", "runs/n-416-eight")
    words[2:2] = ["--main_process_port", str(free_port())]
    check_run(words, run(words, home), home)
    # Each process has half of the pictures, and the figures are those of all of them.
    alone = [*words[words.index("mobileyolact") :], "-o", "runs/alone"]
    run(alone, home)
    first = [
        json.loads((home / "runs" / name / "log.jsonl").read_text().splitlines()[0])["loss"]
        for name in ("n-416-eight", "alone")
    ]
    assert first[0] == pytest.approx(first[1], rel=1e-3)


def test_several_machines(home: Path) -> None:
    port = str(free_port())
    both = []
    for rank in ("0", "1"):
        words = command("launch", "--machine_rank", rank, "runs/n-416-machines")
        words[words.index("--main_process_port") + 1] = port
        both.append((words, start(words, home)))
    outputs = [process.communicate(timeout=300)[0] for _, process in both]
    assert [process.returncode for _, process in both] == [0, 0], "\n".join(outputs)
    check_run(both[0][0], outputs[0], home)
    assert "best weights" not in outputs[1]


@pytest.mark.parametrize("folder", ["runs/n-416-taught", "runs/s-416", "runs/n-416-none"])
def test_the_other_starts(folder: str, home: Path) -> None:
    words = command("train", folder)
    check_run(words, run(words, home), home)


def test_the_loader_is_measured(home: Path) -> None:
    words = [*command("research/bench_loader.py"), "--batches", "2", "--batch-size", "4"]
    words[words.index("--workers") + 1] = "1"
    output = run(words, home)
    assert re.search(r"^one core: \d+ images/s$", output, re.MULTILINE)
    assert re.search(r"^workers: \d+ images/s from 1, \d+ from each$", output, re.MULTILINE)


def test_no_command_is_left_out() -> None:
    tried = [
        command("train", "runs/n-416"),
        command("launch", "runs/n-416-eight"),
        *(command("launch", "--machine_rank", rank) for rank in ("0", "1")),
        *(command("train", f"runs/{name}") for name in ("n-416-taught", "s-416", "n-416-none")),
        command("research/bench_loader.py"),
        command("evaluate", "runs/n-416/best.safetensors"),
        command("evaluate", "model/best.onnx"),
        command("export"),
    ]
    assert sorted(tried) == sorted(commands())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
