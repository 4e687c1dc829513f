import os
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from toy_training import ToyData

from mobileyolact.errors import LabelError, TrainingError
from mobileyolact.train.prefetch import prefetch


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whoever_makes_them(workers: int) -> None:
    data = ToyData(4)
    batches = list(prefetch(data, range(3, 9), 0, 1, workers))
    assert [b.names[0] for b in batches] == [f"picture-{i}-0.jpg" for i in range(3, 9)]
    for iteration, batch in zip(range(3, 9), batches, strict=True):
        assert torch.equal(batch.images, data.batch(iteration).images)


def test_each_process_gets_its_share() -> None:
    (batch,) = prefetch(ToyData(4), range(1), 1, 2, 1)
    assert batch.names == ["picture-0-1.jpg", "picture-0-3.jpg"]


@dataclass
class Failing:
    how: str

    def batch(self, iteration: int, rank: int = 0, world: int = 1) -> int:
        if iteration == 2 and self.how == "error":
            raise LabelError("labels.json is damaged")
        if iteration == 2 and self.how == "killed":
            os.kill(os.getpid(), 9)
        return iteration


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    # Spawned workers import this file by its plain name.
    monkeypatch.setattr(Failing, "__module__", "test_prefetch")
    import test_prefetch

    return test_prefetch.Failing


def test_an_error_in_a_worker_arrives_as_it_is(failing: type[Failing]) -> None:
    batches = prefetch(failing("error"), range(5), 0, 1, 1)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(LabelError, match="labels.json is damaged"):
        next(batches)


def test_a_killed_worker_is_one_sentence(failing: type[Failing]) -> None:
    with pytest.raises(TrainingError, match="fewer workers"):
        list(prefetch(failing("killed"), range(5), 0, 1, 1))
