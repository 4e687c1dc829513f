"""Writer of int8 TorchScript files: PyTorch's own quantized operators, without its quantizers.

Tensors of codes are quint8. Every operator gives the same codes whichever of PyTorch's engines
computes it, but for rounding in the convolutions; kernels are packed for an engine when the file
is loaded, so one file serves x86 and Arm.
"""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mobileyolact.contract import ModelContract
from mobileyolact.errors import ModelError
from mobileyolact.export.formats import int8_exporter
from mobileyolact.export.graph import (
    Activation,
    Add,
    Conv,
    Graph,
    Layer,
    Shape,
    Split,
)
from mobileyolact.export.quantized import (
    SLOPE_FACTOR,
    Codes,
    QuantizedConv,
    QuantizedLayers,
)
from mobileyolact.export.torch_layers import compute
from mobileyolact.export.torchscript import FloatConvolution, GraphNetwork, write_traced
from mobileyolact.runtime.backends.torchscript import int8_engine, quantized_engine


def variables(graph: Graph) -> dict[str, str]:
    """What each tensor of ``graph`` is called in the program inside the file."""
    return {name: f"t{i}_" + re.sub(r"\W", "_", name) for i, name in enumerate(graph.shapes)}


class _IntegerConvolution(nn.Module):
    """An integer convolution from codes to codes, its kernel packed for the present engine."""

    def __init__(self, layer: Conv, conv: QuantizedConv, source: Shape, codes: Codes) -> None:
        super().__init__()
        weight, padding = _padded_alike(layer, conv.weight, source)
        kernel = torch._make_per_channel_quantized_tensor(
            torch.from_numpy(weight),
            torch.from_numpy(conv.steps).double(),
            torch.zeros(len(conv.steps), dtype=torch.long),
            axis=0,
        )
        bias = torch.from_numpy(layer.bias.copy())
        self.packed = torch.ops.quantized.conv2d_prepack(
            kernel, bias, [layer.stride] * 2, padding, [1, 1], layer.groups
        )
        self.activation, self.codes = layer.activation, codes
        self.sum_step, self.sum_zero = conv.sum_step(codes), conv.sum_zero

    def forward(self, x: Tensor) -> Tensor:
        operators, codes, activation = torch.ops.quantized, self.codes, self.activation
        if activation is None or activation.kind != "leaky_relu":
            x = operators.conv2d(x, self.packed, codes.step, codes.zero_point)
            return _clip(x, codes, activation)
        x = operators.conv2d(x, self.packed, self.sum_step, self.sum_zero)
        slope = activation.slope * SLOPE_FACTOR
        return operators.leaky_relu(x, slope, False, codes.step, codes.zero_point)


def _padded_alike(
    layer: Conv, weight: NDArray[np.int8], source: Shape
) -> tuple[NDArray[np.int8], list[int]]:
    """A kernel and its padding (vertical, horizontal), the same on opposite sides.

    Where the layer pads them differently, the kernel grows by zeros, up to an odd square: padding
    codes takes longer than the whole convolution, and FBGEMM is fast for odd squares only.

    Raises:
        ModelError: no such kernel gives the same sums on an input of the shape ``source``.
    """
    pads = layer.pads
    if (pads.left, pads.top) == (pads.right, pads.bottom):
        return weight, [pads.top, pads.left]
    height, width = weight.shape[2:]
    padding = max(height - pads.top, width - pads.left) - 1
    top, left = padding - pads.top, padding - pads.left
    spare = (pads.top + pads.bottom - height, pads.left + pads.right - width)
    if min(top, left) < 0 or any(
        (side + cells) // layer.stride != (side - 1) // layer.stride
        for side, cells in zip(source[1:], spare, strict=True)
    ):
        raise ModelError(
            f"int8 TorchScript has no form of the padding of layer '{layer.name}'; leave it float"
        )
    larger = np.zeros((*weight.shape[:2], 2 * padding + 1, 2 * padding + 1), np.int8)
    larger[:, :, top : top + height, left : left + width] = weight
    return larger, [padding, padding]


class _Int8Network(GraphNetwork):
    """As ``GraphNetwork``, with the integer layers of a ``QuantizedLayers``."""

    def __init__(self, graph: Graph, quantized: QuantizedLayers) -> None:
        self.shapes, self.quantized, self.variables = graph.shapes, quantized, variables(graph)
        super().__init__(graph)

    def convolution(self, layer: Conv) -> nn.Module:
        conv = self.quantized.convs.get(layer.name)
        if conv is None:
            return FloatConvolution(layer, self.quantized.stored.get(layer.name))
        (source,), (target,) = layer.inputs, layer.outputs
        codes = self.quantized.tensors[target]
        return _IntegerConvolution(layer, conv, self.shapes[source], codes)

    def outputs_of(self, index: int, layer: Layer, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        if layer.name in self.quantized.convs:
            outputs = super().outputs_of(index, layer, inputs)
        else:
            outputs = self.between(index, layer, inputs)
        for name, value in zip(layer.outputs, outputs, strict=True):
            traced = torch._C._get_value_trace(value)  # type: ignore[attr-defined]
            traced.setDebugName(self.variables[name])
        return outputs

    def output(self, x: Tensor) -> Tensor:
        return super().output(x.dequantize() if x.is_quantized else x)

    def between(self, index: int, layer: Layer, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of a layer that is no integer convolution."""
        targets = [self.quantized.tensors.get(name) for name in layer.outputs]
        if targets[0] is not None and all(x.is_quantized for x in inputs):
            if isinstance(layer, Add):
                step, zero = targets[0].step, targets[0].zero_point
                return (_clip(torch.ops.quantized.add(*inputs, step, zero), targets[0]),)
            if self.quantized.moves(layer):
                moved = compute(layer, inputs)
                if isinstance(layer, Split):  # to join parts as they lie here takes long
                    moved = tuple(x.contiguous(memory_format=torch.channels_last) for x in moved)
                return moved
        floats = [x.dequantize() if x.is_quantized else x for x in inputs]
        outputs = super().outputs_of(index, layer, floats)
        return tuple(
            x if codes is None else _encode(x, codes)
            for x, codes in zip(outputs, targets, strict=True)
        )


def _encode(x: Tensor, codes: Codes) -> Tensor:
    x = torch.quantize_per_tensor(x, codes.step, codes.zero_point, torch.quint8)
    return _clip(x, codes)


def _clip(x: Tensor, codes: Codes, activation: Activation | None = None) -> Tensor:
    """Codes (1, channels, height, width) within what may follow ``activation``.

    Bytes reach further than codes; only within these no engine's integer sum can saturate.
    """
    if codes.fill_bytes(activation):
        return x
    low, high = codes.after(activation)
    # QNNPACK's clamp does not see that channels come last; in this view they do for everybody.
    rows = x.permute(0, 2, 3, 1)
    return torch.ops.quantized.clamp(rows, low * codes.step, high * codes.step).permute(0, 3, 1, 2)


@int8_exporter("torchscript", ".int8.torchscript")
def write_torchscript_int8(
    graph: Graph, quantized: QuantizedLayers, contract: ModelContract, path: Path
) -> None:
    """Write ``graph`` with the integer layers of ``quantized`` as one TorchScript file.

    Input and outputs are those of ``write_torchscript``; kernels that stay float are stored in 8
    bits. Tensors of codes are quint8 with the zero points of ``Codes``. A leaky ReLU reads its
    convolution's sum as bytes, as ``QuantizedConv`` says. The same arguments give the same bytes,
    on Arm those of x86.

    Raises:
        ModelError: this PyTorch has no int8 arithmetic.
    """
    with quantized_engine(int8_engine("int8 TorchScript cannot be written")):
        network = _Int8Network(graph, quantized)
        write_traced(network, graph, contract, path, deflate=True)
