"""Which pairs of a cell and a class are worth decoding: a cheap look at all raw scores.

Ranks are scores on the scale on which the raw outputs decide them cheaply: logits where each
class has its sigmoid, logarithms of probabilities where the classes share a softmax. The order is
that of the scores, without their rounding near 1.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]

_SLACK = 0.01  # far more than float32 can lose in a difference of two logits


class Candidates(NamedTuple):
    """Pairs, best first: row of the outputs, class index, and rank, (M,) each."""

    rows: IndexArray
    classes: IndexArray
    ranks: FloatArray


def sigmoid_candidates(logits: FloatArray, threshold: float, limit: int) -> Candidates:
    """The best pairs of which the sigmoid is at least ``threshold``.

    The threshold is compared as a logit: of some 300,000 logits only those that pass are
    touched again. Equal ones stay in the order of the tensor.

    Args:
        logits: (N, C).
        threshold: 0..1.
        limit: at most so many pairs.
    """
    picked, ranks = _best(logits, logit(threshold), limit)
    return Candidates(*np.divmod(picked, logits.shape[1]), ranks)


def softmax_candidates(logits: FloatArray, threshold: float, limit: int) -> Candidates:
    """The same where ``logits`` (N, C + 1) share a softmax whose first entry is the background.

    With the background alone in the denominator a probability would only be larger. So a row
    none of whose classes reaches the threshold against the background holds no candidate, and
    the softmax is formed for the few others.
    """
    with np.errstate(invalid="ignore"):  # what is not a number is not compared
        floor = logits[:, 0] + np.float32(logit(threshold) - _SLACK)
        rows = np.flatnonzero(logits[:, 1:].max(axis=1) >= floor)
        kept = logits[rows]
        highest = kept.max(axis=1, keepdims=True)
        total = np.exp(kept - highest).sum(axis=1, keepdims=True)
        log_probabilities = kept[:, 1:] - highest - np.log(total)
    least = math.log(threshold) if threshold else -math.inf
    picked, ranks = _best(log_probabilities, least, limit)
    places, classes = np.divmod(picked, log_probabilities.shape[1])
    return Candidates(rows[places], classes, ranks)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Where the exponential overflows it is 0, as it should be."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)))


def logit(probability: float) -> float:
    """The inverse of the sigmoid, infinite at 0 and 1."""
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability / (1 - probability))


def _best(values: FloatArray, least: float, limit: int) -> tuple[IndexArray, FloatArray]:
    """Flat indices and values of the best ``limit`` that are at least ``least``, best first."""
    flat = values.ravel()
    picked = np.flatnonzero(flat >= np.float32(least))
    ranks = flat[picked]
    if len(picked) > limit:
        place = len(picked) - limit
        best = np.flatnonzero(ranks >= np.partition(ranks, place)[place])
        picked, ranks = picked[best], ranks[best]
    order = np.argsort(-ranks, kind="stable")[:limit]
    return picked[order], ranks[order]
