"""The learning rate as a pure function of the iteration."""

import math

_FINAL_FACTOR = 0.02


def rate_factor(iteration: int, iterations: int, warmup_iterations: int) -> float:
    """Factor of the peak rate at ``iteration`` (from 0): linear warm-up, then half a cosine.

    The cosine (Loshchilov and Hutter, arXiv:1608.03983, eq. 5, one cycle) falls from 1 to 0.02
    at the last iteration.
    """
    if iteration < warmup_iterations:
        return (iteration + 1) / (warmup_iterations + 1)
    span = max(1, iterations - 1 - warmup_iterations)
    progress = min(1.0, (iteration - warmup_iterations) / span)
    return _FINAL_FACTOR + (1 - _FINAL_FACTOR) * 0.5 * (1 + math.cos(math.pi * progress))
