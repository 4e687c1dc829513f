import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def test_tensorboard_scalars_continue_without_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    # Files of one second are read in the order of their names, in which the 10th of a process comes
    # before the 9th; two runs are two processes.
    writer = importlib.import_module("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(writer, "_global_uid", writer.AtomicCounter(0))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, end in ((0, 5), (3, 7)):
        with TrainingLog(tmp_path, start) as record:
            for iteration in range(start + 1, end + 1):
                record.add(iteration, {"loss": float(iteration)})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7]


class Show:
    def augmented(self, batch: int) -> np.ndarray:
        return np.full((2, 3, 3), batch, np.uint8)

    def predictions(self, network: int) -> np.ndarray:
        return np.full((4, 5, 3), network, np.uint8)


def test_tensorboard_gets_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TrainingLog(tmp_path, 0, Show()) as record:
        record.add_augmented(7)
        record.add_predictions(100, 4)
        record.add_predictions(200, 8)
    with TrainingLog(tmp_path, 4, Show()) as record:
        record.add_predictions(250, 8)
    board = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0})
    board.Reload()
    assert [(e.step, e.width, e.height) for e in board.Images("augmented")] == [(1, 3, 2)]
    found = board.Images("predictions")
    assert [event.step for event in found] == [4, 8]
    pixels = np.array(Image.open(io.BytesIO(found[-1].encoded_image_string)))
    assert (pixels == 250).all()
    assert not (tmp_path / "log.jsonl").read_text()


def test_it_works_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    with TrainingLog(tmp_path, 0, Show()) as record:
        record.add(1, {"loss": 0.5})
        record.add_augmented(7)
        record.add_predictions(100, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
