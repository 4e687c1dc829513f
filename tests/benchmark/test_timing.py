"""Turns and sums, with workers that only count."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobileyolact.benchmark import timing
from mobileyolact.benchmark.results import Spread
from mobileyolact.benchmark.subject import Subject
from mobileyolact.benchmark.timing import Setting, run_benchmark

CALLS: list[tuple[str, int, int]] = []


class Counting:
    """A worker whose n-th picture takes n, 10 n and 100 n ms; the network of others 10 n alone."""

    def __init__(self, subject: Subject, picture: Path, *setting: Any) -> None:
        self.subject, self.setting = subject, setting
        self.shape = np.load(picture).shape
        own = subject.name != "foreign"
        self.facts = {"engine": "counting", "instances": 3 if own else None}
        self._factors = (1, 10, 100) if own else (10,)
        self._numbers = iter(range(10**6))

    def time(self, count: int) -> tuple[list[list[float]], int | None]:
        CALLS.append((self.subject.name, self.subject.threads, count))
        numbers = [next(self._numbers) for _ in range(count)]
        return [[n * factor for factor in self._factors] for n in numbers], 1000 + numbers[-1]

    def time_apart(self, count: int) -> list[list[float]]:
        return [[n, 2 * n] for n in range(count)]

    def __enter__(self) -> "Counting":
        return self

    def __exit__(self, *_: object) -> None:
        CALLS.append((self.subject.name, self.subject.threads, 0))


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(timing, "Worker", Counting)
    monkeypatch.setattr(timing, "_APART", 3)
    CALLS.clear()
    yield


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"12345")
    return [Subject("a", tmp_path / "a.onnx"), Subject("foreign", tmp_path / "b.onnx")]


def test_models_take_turns_and_first_pictures_do_not_count(subjects: list[Subject]) -> None:
    seen: list[tuple[int, int]] = []
    setting = Setting(size=(64, 48))
    result = run_benchmark(subjects, [1, 2], setting, 2, lambda *done: seen.append(done))
    for threads in (1, 2):
        warm = [(name, threads, 5) for name in ("a", "foreign")]
        turn = [(name, threads, 5) for name in ("a", "foreign")]
        calls = [call for call in CALLS if call[1] == threads and call[2]]
        assert calls == warm + turn + turn
    assert CALLS[6:8] == [("foreign", 1, 0), ("a", 1, 0)], "they end before the next ones start"
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert [(m.name, m.threads) for m in result.models] == [
        ("a", 1),
        ("foreign", 1),
        ("a", 2),
        ("foreign", 2),
    ]
    own, foreign = result.models[:2]
    counted = [6, 7, 8, 9, 11, 12, 13, 14]  # 0 to 4 warm up, 5 and 10 begin a turn
    assert own.stages == {
        "preprocess": Spread.of(counted),
        "network": Spread.of([10 * n for n in counted]),
        "postprocess": Spread.of([100 * n for n in counted]),
        "total": Spread.of([111 * n for n in counted]),
    }
    assert foreign.stages["network"] == own.stages["network"]
    assert [n for n, s in foreign.stages.items() if s is None] == [
        "preprocess",
        "postprocess",
        "total",
    ]
    assert (own.file_bytes, own.peak_rss_bytes, own.instances) == (5, 1014, 3)
    assert (result.decode, result.draw) == (Spread.of([1, 2, 3]), Spread.of([2, 4, 6]))


def test_of_networks_alone_nothing_is_decoded(subjects: list[Subject]) -> None:
    result = run_benchmark(subjects[1:], rounds=1)
    assert (result.decode, result.draw) == (None, None)
    assert result.size == (1280, 720)
