import pytest

from mobileyolact.benchmark.device import Device
from mobileyolact.benchmark.results import STAGES, Benchmark, Measured, Spread, ratio

DEVICE = Device("a processor", 2, ("avx2",), "Linux", "3.12.1", {"numpy": "2.0"}, 0.1)


def measured(name: str, threads: int = 1, **stages: float) -> Measured:
    spreads = {n: Spread(stages[n], 0, 0) if n in stages else None for n in STAGES}
    instances = 10 if "total" in stages else None
    return Measured(name, threads, "engine", instances, 100, 200, spreads)


OWN = measured("own", preprocess=1.0, network=8.0, postprocess=1.0, total=10.0)
SLOWER = measured("slower", preprocess=1.0, network=16.0, postprocess=3.0, total=20.0)
FOREIGN = measured("foreign", network=40.0)


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median_ms=2.0, p90_ms=2.8, min_ms=1.0)
    assert Spread.of(list(range(1, 12))) == Spread(6.0, 10.0, 1.0)
    assert Spread.of([4]) == Spread(4.0, 4.0, 4.0)


@pytest.mark.parametrize(
    ("model", "first", "expected"),
    [
        (OWN, OWN, [1.0, 1.0, 1.0, 1.0]),
        (SLOWER, OWN, [1.0, 2.0, 3.0, 2.0]),
        (OWN, FOREIGN, [None, 0.2, None, 0.25]),  # the total is compared with its network
        (FOREIGN, OWN, [None, 5.0, None, None]),
        (FOREIGN, FOREIGN, [None, 1.0, None, None]),
    ],
)
def test_ratio(model: Measured, first: Measured, expected: list[float | None]) -> None:
    assert [ratio(model, first, stage) for stage in STAGES] == expected


def test_models_are_compared_within_a_number_of_threads() -> None:
    models = [measured(name, threads, network=1.0) for threads in (1, 2) for name in "ab"]
    result = Benchmark(DEVICE, (64, 48), tuple(models), None, None)
    assert [result.first(model) for model in models] == [models[0]] * 2 + [models[2]] * 2


def test_json_has_exactly_these_keys() -> None:
    spread = Spread(1.0, 2.0, 0.5)
    content = Benchmark(DEVICE, (64, 48), (OWN, FOREIGN), spread, spread).to_json()
    assert set(content) == {"device", "models", "decode", "draw"}
    times = {"median_ms": 1.0, "p90_ms": 2.0, "min_ms": 0.5}
    assert content["decode"] == content["draw"] == times
    own, foreign = content["models"]
    assert list(own) == ["name", "threads", "file_bytes", "peak_rss_bytes", "stages"]
    assert list(own["stages"]) == ["preprocess", "network", "postprocess", "total"]
    assert own["stages"]["total"] == {"median_ms": 10.0, "p90_ms": 0, "min_ms": 0}
    assert [foreign["stages"][n] is None for n in STAGES] == [True, False, True, True]
    assert content["device"]["load"] == 0.1
