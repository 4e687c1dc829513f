"""Int8 as training sees it: values on the grid going forward, gradients straight through.

Kernels and coded tensors are rounded as in arXiv:1712.05877, section 3, and batch norm is folded
with its running statistics (arXiv:1806.08342, section 3.2.2, once they are frozen).
"""

from typing import Any

import torch
from torch import Tensor, nn

from mobileyolact.contract import ModelContract
from mobileyolact.errors import ModelError
from mobileyolact.export.graph import Conv
from mobileyolact.export.quantized import HIGH, Codes, QuantizedLayers
from mobileyolact.export.trace import Origin, trace_origins
from mobileyolact.model.kernels import without_rings
from mobileyolact.model.network import MobileYolact, Outputs
from mobileyolact.quantize.execute import execute


def fake_codes(values: Tensor, codes: Codes) -> Tensor:
    """``values`` (any shape, float32) as ``codes`` can tell them: step * q for the nearest code.

    The gradient passes where the nearest code is within the range, and is 0 where it was clipped.
    """
    rounded: Tensor = _Rounded.apply(values, codes.step, codes.low)  # type: ignore[no-untyped-call]
    return rounded


def fake_kernel(weight: Tensor, limit: int) -> Tensor:
    """A kernel (out, in / groups, h, w) as ``quantize_kernel`` rounds it; its gradient is 1."""
    kernel = weight.detach()
    largest = kernel.abs().flatten(1).amax(1)
    steps = (torch.where(largest > 0, largest, 1) / limit)[:, None, None, None]
    return weight + ((kernel / steps).round_().clamp_(-limit, limit) * steps - kernel)


def fold_live(origin: Origin) -> tuple[Tensor, Tensor]:
    """As ``export.trace.fold``, in float32 and with gradients to everything but the statistics."""
    conv, norm = origin.conv, origin.norm
    weight = conv.weight
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return weight * factor[:, None, None, None], norm.bias + (bias - norm.running_mean) * factor


class FakeQuantized(nn.Module):
    """Computes what ``network`` gives once it is int8, from its present weights, for training.

    ``forward`` maps normalised images (B, 3, H, W) of the contract's input size to ``Outputs``,
    without semantic logits. Steps of tensors are those of ``record``, steps of kernels follow the
    weights. Batch norm stands still, whatever mode the modules are in.

    Raises:
        ModelError: ``record`` is not of this network.
    """

    def __init__(
        self, network: MobileYolact, contract: ModelContract, record: QuantizedLayers
    ) -> None:
        super().__init__()
        self.network = network
        self.graph, self.origins = trace_origins(network, (3, *contract.input_size))
        unknown = (record.tensors.keys() - self.graph.shapes) | (record.convs.keys() - self.origins)
        if unknown:
            raise ModelError(
                f"'{sorted(unknown)[0]}' is quantized, but is not in the network "
                f"{contract.name}; quantize this checkpoint again"
            )
        self.limits = {
            layer.name: record.tensors[layer.inputs[0]].weight_limit
            for layer in self.graph.layers
            if layer.name in record.convs
        }
        # What other codes are just moved into is on the grid already.
        self.codes = {
            name: record.tensors[name]
            for layer in self.graph.layers
            for name in layer.outputs
            if name in record.tensors and not record.moves(layer)
        }

    def forward(self, images: Tensor) -> Outputs:
        return Outputs(*execute(self.graph, images, self._weights, self._touch))

    def _weights(self, layer: Conv) -> tuple[Tensor, Tensor]:
        weight, bias = fold_live(self.origins[layer.name])
        weight = without_rings(weight, (weight.shape[2] - layer.weight.shape[2]) // 2)
        limit = self.limits.get(layer.name)
        return weight if limit is None else fake_kernel(weight, limit), bias

    def _touch(self, name: str, value: Tensor) -> Tensor:
        codes = self.codes.get(name)
        return value if codes is None else fake_codes(value, codes)


class _Rounded(torch.autograd.Function):
    """Own, since on the CPU PyTorch's takes three times as long in channels-last memory."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: float, low: int) -> Tensor:
        codes = (values / step).round_()
        ctx.save_for_backward((codes >= low) & (codes <= HIGH))
        return codes.clamp_(low, HIGH).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None
