"""The threshold of greatest expected Dice, against trying all of them."""

import numpy as np
import pytest

from mobileyolact.runtime.thresholds import LOWEST_DICE_THRESHOLD, dice_thresholds


def dice_threshold(p: np.ndarray, w: np.ndarray) -> float:
    return float(dice_thresholds(p.ravel(), w.ravel(), np.array([p.size]))[0])


def expected_dice(p: np.ndarray, w: np.ndarray, threshold: float) -> float:
    kept = p > threshold
    return float(2 * (p * w)[kept].sum() / ((p * w).sum() + w[kept].sum()))


@pytest.mark.parametrize("seed", range(8))
def test_no_other_threshold_promises_more(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.beta(0.5, 0.7, (30, 20)).astype(np.float32)
    w = random.uniform(0.1, 4, (30, 20)).astype(np.float32)
    found = dice_threshold(p, w)
    best = max(expected_dice(p, w, t) for t in np.unique(p)[:-1])
    assert expected_dice(p, w, found) == pytest.approx(best, abs=1e-5)
    assert found == pytest.approx(best / 2, abs=1e-4)


def test_a_sure_mask_is_cut_in_the_middle_and_a_doubtful_one_lower() -> None:
    ones = np.ones(100, np.float32)
    sure = np.repeat(np.float32([0.001, 0.999]), 50)
    assert dice_threshold(sure, ones) == pytest.approx(0.5, abs=0.001)
    doubtful = np.linspace(0, 1, 100, dtype=np.float32)
    assert 0.3 < dice_threshold(doubtful, ones) < 0.45


def test_what_is_hardly_there_is_not_filled() -> None:
    faint = np.full(16, 0.05, np.float32)
    assert dice_threshold(faint, np.ones(16, np.float32)) == np.float32(LOWEST_DICE_THRESHOLD)
    nothing = np.zeros(16, np.float32)
    assert dice_threshold(faint, nothing) == np.float32(LOWEST_DICE_THRESHOLD)


def test_each_mask_has_a_threshold_of_its_own() -> None:
    random = np.random.default_rng(3)
    masks = [
        random.beta(0.5, b, size).astype(np.float32) for b, size in ((0.4, 90), (2, 1), (1, 7))
    ]
    weights = [random.uniform(0.1, 1, len(p)).astype(np.float32) for p in masks]
    sizes = np.array([90, 1, 7])
    together = dice_thresholds(np.concatenate(masks), np.concatenate(weights), sizes)
    alone = [dice_threshold(p, w) for p, w in zip(masks, weights, strict=True)]
    assert together == pytest.approx(alone, rel=1e-6)
