"""What was pruned before training stays pruned: it is 0, and gradients pass it by."""

import torch
from torch import Tensor, nn

from mobileyolact.model.kernels import empty_rings, without_rings
from mobileyolact.model.layers import ConvNorm


def keep_pruned(network: nn.Module) -> None:
    """Hold at 0 the empty rings of kernels, and channels whose kernel, scale and shift are 0.

    To be called once, before the first step. AdamW and the average of the weights do not move a
    0 that has no gradient.
    """
    for module in network.modules():
        if isinstance(module, ConvNorm):
            kernel, scale, shift = module.conv.weight, module.norm.weight, module.norm.bias
            used = (kernel.flatten(1) != 0).any(1) | (scale != 0) | (shift != 0)
            rings = empty_rings(kernel.detach().cpu().numpy())
            learning = torch.zeros_like(kernel)
            without_rings(learning, rings).copy_(used[:, None, None, None])
            _mask(kernel, learning)
            _mask(scale, used)
            _mask(shift, used)


def _mask(parameter: Tensor, learning: Tensor) -> None:
    if parameter.requires_grad and not learning.all():
        parameter.register_hook(learning.to(parameter.dtype).mul)
