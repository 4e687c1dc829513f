import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from mobileyolact.train import log
from mobileyolact.train.log import TrainingLog


def iterations(directory: Path) -> list[int]:
    lines = (directory / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["iteration"] for line in lines]


def test_going_on_drops_what_is_done_again(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as first:
        for iteration in range(1, 6):
            first.add(iteration, {"loss": 1.0})
    with TrainingLog(tmp_path, 3) as second:
        second.add(4, {"loss": 2.0})
    assert iterations(tmp_path) == [1, 2, 3, 4]


def test_a_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as record:
        record.add(1, {"loss": 0.5})
        assert json.loads((tmp_path / "log.jsonl").read_text()) == {"iteration": 1, "loss": 0.5}


def test_tensorboard_scalars_continue_without_duplicates(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, end in ((0, 5), (3, 7)):
        with TrainingLog(tmp_path, start) as record:
            for iteration in range(start + 1, end + 1):
                record.add(iteration, {"loss": float(iteration)})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7]


def test_it_works_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    with TrainingLog(tmp_path, 0) as record:
        record.add(1, {"loss": 0.5})
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
