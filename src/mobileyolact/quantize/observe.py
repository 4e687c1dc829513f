"""What values a tensor takes, in bounded memory, and how far its codes should reach."""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileyolact.errors import ModelError
from mobileyolact.export.quantized import HIGH

Method = Literal["absmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

_BINS = 4096
_PERCENTILE = 99.99
_SHARES = np.linspace(0.2, 1.0, 81)  # of the largest value, tried as the end of the codes


class Observer:
    """Least and greatest value of a tensor, and a histogram of it that widens as it needs."""

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.reach = 0.0  # the histogram covers -reach..reach
        self.counts = np.zeros(_BINS)

    def see(self, name: str, values: Tensor) -> None:
        """Add values of any shape.

        Raises:
            ModelError: NaN or infinity, called ``name``.
        """
        low, high = finite_range(name, values)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(high, -low))
        if self.reach:
            # Half the time of torch.histc. Rounding may put the greatest value behind the last bin.
            places = (values.float() + self.reach).mul_(_BINS / (2 * self.reach)).int()
            places = places.clamp_(max=_BINS - 1).ravel()
            self.counts += torch.bincount(places, minlength=_BINS).numpy()

    def _widen(self, largest: float) -> None:
        """Double the reach until ``largest`` fits, two bins becoming one each time."""
        if not self.reach:
            self.reach = largest
        while self.reach < largest:
            pairs = self.counts.reshape(-1, 2).sum(1)
            quarter = np.zeros(_BINS // 4)
            self.counts = np.concatenate([quarter, pairs, quarter])
            self.reach *= 2

    @property
    def centres(self) -> NDArray[np.float64]:
        """The values in the middle of the bins."""
        positions = np.arange(_BINS, dtype=np.float64) + 0.5
        centres: NDArray[np.float64] = positions * (2 * self.reach / _BINS) - self.reach
        return centres


def finite_range(name: str, values: Tensor) -> tuple[float, float]:
    """Least and greatest of values of any shape.

    Raises:
        ModelError: NaN or infinity, called ``name``.
    """
    low, high = (float(v) for v in values.aminmax())
    if not np.isfinite(low) or not np.isfinite(high):
        raise ModelError(
            f"the tensor '{name}' has NaN or infinity on a calibration picture; "
            "the weights are damaged: train the checkpoint again"
        )
    return low, high


def choose_reach(observers: list[Observer], method: Method) -> float:
    """The absolute value that code 127 should stand for, of tensors that share a step.

    ``absmax`` clips nothing seen; ``percentile`` clips one value in ten thousand; ``mse`` weighs
    what clipping loses against what finer steps gain, by the squared error over all values.
    """
    largest = max(max(o.high, -o.low) for o in observers)
    if method == "absmax" or not largest:
        return largest
    values = np.concatenate([o.centres for o in observers])
    # Tensors of one group count alike, however many values they have.
    weight = np.concatenate([o.counts / max(o.counts.sum(), 1) for o in observers])
    if method == "percentile":
        order = np.argsort(np.abs(values))
        reached = np.cumsum(weight[order]) / len(observers)
        place = min(int(np.searchsorted(reached, _PERCENTILE / 100)), len(order) - 1)
        return min(float(np.abs(values[order[place]])), largest)
    errors = [_squared_error(values, weight, largest * share) for share in _SHARES]
    return largest * float(_SHARES[int(np.argmin(errors))])


def _squared_error(values: NDArray[np.float64], weight: NDArray[np.float64], reach: float) -> float:
    step = reach / HIGH
    rounded = np.clip(np.rint(values / step), -HIGH, HIGH) * step
    inside = np.abs(values) < reach
    # A bin that is wider than a step hides the rounding inside it: its expectation is known.
    error = np.where(inside, step**2 / 12, (values - rounded) ** 2)
    return float((error * weight).sum())
