"""Exponential moving average of a network, the weights that are validated and kept."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A shadow ``network`` in eval mode, whose floating tensors trail those of the trained one.

    The decay grows from 0.1 to ``decay`` as ``(1 + n) / (10 + n)`` over the updates n, so that
    random first weights leave no trace. Batch norm statistics are averaged too; counters are
    copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, updates: int) -> None:
        """Move towards ``network``; ``updates`` counts the earlier calls in this run."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        shadows: list[Tensor] = []
        values: list[Tensor] = []
        current = network.state_dict()
        for name, shadow in self.network.state_dict().items():
            if shadow.is_floating_point():
                shadows.append(shadow)
                values.append(current[name])
            else:
                shadow.copy_(current[name])
        torch._foreach_lerp_(shadows, values, 1 - decay)
