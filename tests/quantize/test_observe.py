"""What is kept of a tensor's values, and the reach that each method chooses for its codes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.errors import ModelError
from mobileyolact.quantize.observe import METHODS, Observer, choose_reach


def observed(*batches: object) -> Observer:
    observer = Observer()
    for batch in batches:
        observer.see("x", torch.as_tensor(batch, dtype=torch.float32))
    return observer


def normal(count: int = 200_000) -> object:
    return torch.randn(count, generator=torch.Generator().manual_seed(0))


def test_a_histogram_that_widens_counts_what_one_that_knew_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(-4096, 4096, (5000,), generator=generator)
    near = torch.cat([(places | 1) / 4096, torch.tensor([-1.0])])  # bins end at even places
    far = torch.cat([4 * near, torch.tensor([0.3])])
    grown, knew = observed(near, far, near), observed(far, near, near)
    assert (grown.low, grown.high, grown.reach) == (knew.low, knew.high, knew.reach)
    assert grown.reach == 4
    assert grown.counts.sum() == 2 * len(near) + len(far)
    assert np.array_equal(grown.counts, knew.counts)


def test_least_and_greatest_include_0_and_every_batch() -> None:
    assert (observed([[1.0, 2.0]], [0.5]).low, observed([1.0, 2.0], [0.5]).high) == (0, 2)
    observer = observed([0.0, 0.0], [-3.0, -1.0], [7.0])
    assert (observer.low, observer.high) == (-3, 7)
    assert observer.counts.sum() == 3, "zeros before anything else have no place"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_names_its_tensor(value: float) -> None:
    with pytest.raises(ModelError, match=r"the tensor 'head\.3' has NaN or infinity"):
        Observer().see("head.3", torch.tensor([1.0, value]))


@pytest.mark.parametrize("method", METHODS)
def test_no_value_at_all_has_no_reach(method: str) -> None:
    assert choose_reach([observed(torch.zeros(9))], method) == 0


def test_absmax_clips_nothing_on_either_side() -> None:
    assert choose_reach([observed([-5.0, 1.0]), observed([2.0])], "absmax") == 5


@pytest.mark.parametrize(("outliers", "reach"), [(5, 1), (20, 100)])
def test_percentile_clips_one_value_in_ten_thousand(outliers: int, reach: float) -> None:
    values = torch.linspace(-1, 1, 100_000)
    values[:outliers] = -100
    bin_width = 200 / 4096
    found = choose_reach([observed(values)], "percentile")
    assert found == pytest.approx(reach, abs=bin_width)
    assert found <= 100


def test_mse_clips_a_bell_where_it_is_best_for_8_bits() -> None:
    # In standard deviations a, where a / (6 * 127**2) = 4 * (density(a) - a * tail(a)): a finer
    # step gains what clipping loses.
    found = choose_reach([observed(normal(1_000_000))], "mse")
    assert found == pytest.approx(3.92, abs=0.15)


def test_mse_clips_nothing_of_values_that_are_alike_frequent() -> None:
    assert choose_reach([observed(torch.linspace(-2, 2, 100_001))], "mse") == 2


def test_tensors_that_share_a_step_count_alike_however_many_values_they_have() -> None:
    few, many = observed(50 * torch.ones(10)), observed(torch.linspace(-1, 1, 1_000_000))
    assert choose_reach([few, many], "percentile") == pytest.approx(50, abs=0.1)
    assert choose_reach([many], "percentile") == pytest.approx(1, abs=0.01)
