import pytest

from mobileyolact.train.schedule import rate_factor


def test_warms_up_linearly_then_falls_to_a_fiftieth() -> None:
    factors = [rate_factor(i, 100, 10) for i in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx(0.02)
    assert factors[10 + 89 // 2] == pytest.approx(0.51, abs=0.02)


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_shortest_runs_learn(iterations: int) -> None:
    assert all(0 < rate_factor(i, iterations, 0) <= 1 for i in range(iterations))
