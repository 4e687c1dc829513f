"""Real worker processes."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobileyolact import zoo
from mobileyolact.benchmark.process import NetworksWorker, Worker
from mobileyolact.benchmark.subject import Subject
from mobileyolact.errors import ModelError, OptionError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.npy"
    np.save(path, np.zeros((48, 64, 3), np.uint8))
    return path


def test_one_of_our_models(picture: Path) -> None:
    before = dict(os.environ)
    ballast = np.ones(40_000_000)  # 320 MB that are not the worker's
    with Worker(Subject("coco", zoo.resolve("coco")), picture, instances=7) as worker:
        assert worker.facts["instances"] == 7
        assert worker.facts["engine"].startswith("onnxruntime")
        times, peak = worker.time(2)
        assert np.array(times).shape == (2, 3)
        assert np.array(times).min() > 0
        apart = worker.time_apart(3)
        assert np.array(apart).shape == (3, 2)
        assert np.array(apart).min() > 0
    if peak is not None:
        assert 40e6 < peak < ballast.nbytes
    assert dict(os.environ) == before
    assert worker._process.returncode is not None


def test_what_goes_wrong_in_the_process_is_said_here(
    picture: Path, foreign_onnx: Callable[..., Path]
) -> None:
    path = foreign_onnx(("batch", 3, "height", "width"))
    with pytest.raises(OptionError, match="no fixed size"):
        Worker(Subject("other", path), picture)
    with pytest.raises(ModelError, match="running 'other' failed: .*No such file.*gone"):
        Worker(Subject("other", zoo.resolve("coco")), picture.with_name("gone.npy"))
    with Worker(Subject("other", path), picture, input_size=(8, 8)) as worker:
        worker._process.kill()
        with pytest.raises(ModelError, match="ended its process by signal 9"):
            worker.time(1)


def test_networks_in_turn(foreign_ncnn: Callable[..., Path]) -> None:
    open_size = foreign_ncnn("", name="a.param")
    networks = [(open_size, (8, 8)), (foreign_ncnn(), None)]
    with NetworksWorker(networks) as worker:
        assert worker.values == [7 * 8 * 8, 7 * 64 * 32]
        times = worker.time()
    assert len(times) == 2
    assert min(times) > 0
    with pytest.raises(OptionError, match="no fixed size"):
        NetworksWorker([(open_size, None)])
