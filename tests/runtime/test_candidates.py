"""The cheap look at raw scores finds exactly what looking at every score finds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileyolact.runtime.candidates import (
    Candidates,
    logit,
    sigmoid,
    sigmoid_candidates,
    softmax_candidates,
)

THRESHOLDS = (0.0, 0.01, 0.05, 0.3, 0.5, 0.9, 1.0)


def probabilities(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    weights = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray((weights / weights.sum(axis=1, keepdims=True))[:, 1:])


def pairs(found: Candidates) -> list[tuple[int, int]]:
    return list(zip(found.rows.tolist(), found.classes.tolist(), strict=True))


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 6),
    spread=st.sampled_from([0.5, 3.0, 30.0]),
    threshold=st.sampled_from(THRESHOLDS[:-1]),
)
def test_softmax_candidates_are_all_pairs_above_the_threshold(
    seed: int, classes: int, spread: float, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (40, classes + 1)).astype(np.float32)
    exact = probabilities(logits)
    sure = exact >= threshold * (1 + 1e-5)
    possible = exact >= threshold * (1 - 1e-5)
    found = softmax_candidates(logits, threshold, 10_000)
    assert set(zip(*map(np.ndarray.tolist, sure.nonzero()), strict=True)) <= set(pairs(found))
    assert all(possible[pair] for pair in pairs(found))
    scores = np.exp(found.ranks.astype(np.float64))
    np.testing.assert_allclose(scores, exact[found.rows, found.classes], rtol=1e-4, atol=1e-30)
    assert (np.diff(found.ranks) <= 0).all()


def test_the_background_gives_no_candidate_and_shares_the_softmax() -> None:
    logits = np.log(np.array([[8, 1, 1], [2, 5, 3], [0.5, 0.2, 9.3]], np.float32) / 10)
    found = softmax_candidates(logits, 0.3, 100)
    assert pairs(found) == [(2, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose(np.exp(found.ranks), [0.93, 0.5, 0.3], rtol=1e-6)


@pytest.mark.parametrize("find", [sigmoid_candidates, softmax_candidates])
def test_the_best_are_kept_and_equal_ones_stay_in_order(find: object) -> None:
    assert callable(find)
    logits = np.zeros((5, 3), np.float32)
    logits[3, 1] = 2
    assert pairs(find(logits, 0.1, 4))[0] == (3, 1 if find is sigmoid_candidates else 0)
    assert pairs(find(np.zeros((5, 3), np.float32), 0.1, 3)) == (
        [(0, 0), (0, 1), (0, 2)] if find is sigmoid_candidates else [(0, 0), (0, 1), (1, 0)]
    )


@pytest.mark.parametrize("find", [sigmoid_candidates, softmax_candidates])
def test_nothing_may_pass_and_what_is_not_a_number_does_not(find: object) -> None:
    assert callable(find)
    assert pairs(find(np.zeros((4, 3), np.float32), 0.9, 9)) == []
    assert pairs(find(np.zeros((4, 3), np.float32), 1.0, 9)) == []
    assert pairs(find(np.full((4, 3), np.nan, np.float32), 0.0, 9)) == []


def test_sigmoid_and_its_inverse() -> None:
    for probability in (0.001, 0.3, 0.5, 0.999):
        assert sigmoid(np.float32(logit(probability))) == pytest.approx(probability, rel=1e-4)
    assert (logit(0), logit(1)) == (-math.inf, math.inf)
    assert sigmoid(np.array([-1e4, 1e4], np.float32)).tolist() == [0, 1]
