"""Writer of int8 ONNX files: float operations between DequantizeLinear and QuantizeLinear.

That is a form that every engine can compute. ONNX Runtime replaces such groups by operations on
bytes where it knows them, and the groups are written as it wants them (seen with 1.32): a kernel
of int8 and a bias of int32 make a QLinearConv, scalar steps a QLinearAdd; a float Clip between a
convolution and its QuantizeLinear would leave it in float, so codes are clipped as bytes. The last
convolutions, whose results are floats, would be computed in float; as products of matrices, with
zero points for the kernel too, they become a QGemm. A leaky ReLU of bytes is looked up one by one;
many bytes are sooner clipped and added.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from mobileyolact.contract import ModelContract
from mobileyolact.errors import ModelError
from mobileyolact.export.formats import int8_exporter
from mobileyolact.export.graph import (
    Activation,
    Conv,
    Graph,
    Layer,
    MaxPool,
    Resize,
    Shape,
    Shuffle,
)
from mobileyolact.export.onnx_small import SmallWriter
from mobileyolact.export.products import find_products
from mobileyolact.export.quantized import (
    BYTE,
    HIGH,
    SLOPE_FACTOR,
    Codes,
    QuantizedConv,
    QuantizedLayers,
)

_LARGEST_BIAS = 2**30  # the sum it is added to needs room as well
_MANY = 2**14  # bytes, from which on two passes that take 16 at a time beat one that takes one


def codes_name(name: str) -> str:
    """The uint8 tensor in the file that holds the codes of the graph's tensor ``name``."""
    return f"{name}.codes"


def integer_bias(layer: Conv, conv: QuantizedConv, codes: Codes) -> NDArray[np.int32]:
    """The bias in units of the integer sums over an input of ``codes``: int32 (out,).

    Raises:
        ModelError: it does not fit, because the steps of a channel are next to nothing.
    """
    units = np.float32(codes.step) * conv.steps
    rounded = np.rint(layer.bias.astype(np.float64) / units)
    if np.abs(rounded).max() > _LARGEST_BIAS:
        raise ModelError(
            f"the bias of layer '{layer.name}' is too large beside its weights for 32 bits; "
            "leave this layer in float"
        )
    return rounded.astype(np.int32)


def adds_leaky(shape: Shape) -> bool:
    """Whether a leaky ReLU of bytes of ``shape`` is written as ``QuantizedConv.sum_terms``."""
    return math.prod(shape) >= _MANY


class _Int8Writer(SmallWriter):
    """A tensor ``x`` of codes is ``x.codes`` in the file; ``x`` itself is its float value."""

    def __init__(self, graph: Graph, quantized: QuantizedLayers) -> None:
        super().__init__(graph)
        self.quantized, self.products = quantized, find_products(graph, quantized)
        self.dequantized: set[str] = set()
        self.kept: dict[bytes, str] = {}
        for name in quantized.tensors:
            self.shapes[codes_name(name)] = self.shapes[f"{name}.float"] = self.shapes[name]

    def emit(self, layer: Layer) -> None:
        if layer.name in self.products.inside:
            return
        convs = self.products.results.get(layer.name)
        if convs is None:
            self.emit_in_place(layer)
            self.as_floats(name for name in layer.outputs if name in self.graph.outputs)
            return
        (target,) = layer.outputs
        rows = [self.product(conv) for conv in convs]
        if isinstance(layer, Conv):
            found = self.glue("Transpose", (rows[0],), f"{target}.turned", perm=[1, 0])
            self.reshape(found, target, (1, *self.shapes[target]))
            return
        # Shaped before they are joined: the engine would copy an output to shape it.
        parts = tuple(f"{name}.part" for name in rows)
        for row, part in zip(rows, parts, strict=True):
            self.reshape(row, part, (1, -1, self.shapes[target][-1]))
        self.glue("Concat", parts, target, axis=1)

    def emit_in_place(self, layer: Layer) -> None:
        """A layer that is no part of a product."""
        if self.quantized.moves(layer):
            inputs, outputs = (
                tuple(map(codes_name, names)) for names in (layer.inputs, layer.outputs)
            )
            super().emit(replace(layer, inputs=inputs, outputs=outputs))
            return
        self.as_floats(layer.inputs)
        if isinstance(layer, Conv) and layer.name in self.quantized.convs:
            self.integer_convolution(layer)
            return
        coded = self.quantized.tensors.keys() & {*layer.outputs}
        outputs = tuple(f"{name}.float" if name in coded else name for name in layer.outputs)
        super().emit(replace(layer, outputs=outputs))
        for name in layer.outputs:
            if name in coded and isinstance(layer, MaxPool):
                self.clip_and_quantize(name)
            elif name in coded and isinstance(layer, Resize) and self.alike(layer):
                codes = self.quantized.tensors[name]  # of means of codes, so none is too large
                self.to_bytes(f"{name}.float", codes_name(name), codes.step, codes.zero_point)
            elif name in coded:
                self.quantize(f"{name}.float", name, None)

    def as_floats(self, names: Iterable[str]) -> None:
        """Those of ``names`` that are codes as floats too, once."""
        for name in names:
            codes = self.quantized.tensors.get(name)
            if codes is not None and name not in self.dequantized:
                self.dequantized.add(name)
                self.dequantize(codes_name(name), name, codes.step, codes.zero_point)

    def alike(self, layer: Layer) -> bool:
        """Whether input and output of ``layer`` are codes of one step and range."""
        first, second = (self.quantized.tensors.get(x) for x in (*layer.inputs, *layer.outputs))
        return first == second

    def integer_convolution(self, layer: Conv) -> None:
        (name,) = layer.outputs
        self.convolve(layer, f"{name}.sum")
        activation = layer.activation
        if activation is None or activation.kind != "leaky_relu":
            self.quantize(f"{name}.sum", name, activation)
            return
        codes, conv = self.quantized.tensors[name], self.quantized.convs[layer.name]
        linear, step = f"{name}.linear", conv.sum_step(codes)
        self.to_bytes(f"{name}.sum", codes_name(linear), step, conv.sum_zero)
        if adds_leaky(self.shapes[name]):
            positive, bounds = f"{name}.positive", (self.byte(conv.sum_zero), self.byte(BYTE))
            self.glue("Clip", (codes_name(linear), *bounds), codes_name(positive))
            parts = (linear, positive), conv.sum_terms(codes, activation.slope)
            for part, term in zip(*parts, strict=True):
                self.dequantize(codes_name(part), part, term.step, term.zero_point)
            self.glue("Add", (linear, positive), f"{name}.float")
        else:
            self.dequantize(codes_name(linear), linear, step, conv.sum_zero)
            steeper = replace(activation, slope=activation.slope * SLOPE_FACTOR)
            self.activate(linear, f"{name}.float", steeper)
        self.to_bytes(f"{name}.float", codes_name(name), codes.step, codes.zero_point)

    def product(self, layer: Conv) -> str:
        """``layer`` as a product of bytes and int8: its name, float32 (locations, channels)."""
        conv = self.quantized.stored[layer.name]
        kernel = f"{layer.name}.weight"
        turned = np.ascontiguousarray(conv.weight[:, :, 0, 0].T)
        stored = self.constant(codes_name(kernel), turned)
        steps = self.constant(f"{kernel}.steps", conv.steps)
        zeros = self.constant(f"zeros.{len(conv.steps)}", np.zeros(len(conv.steps), np.int8))
        self.glue("DequantizeLinear", (stored, steps, zeros), kernel, axis=1)
        operands = self.rows(layer.inputs[0]), kernel, self.bias(layer, conv, steps)
        return self.glue("Gemm", operands, f"{layer.outputs[0]}.rows")

    def rows(self, name: str) -> str:
        """The float value of the codes ``name`` as (locations, channels)."""
        rows = f"{name}.rows"
        if rows not in self.dequantized:
            self.dequantized.add(rows)
            turned, codes = f"{name}.turned", self.quantized.tensors[name]
            self.glue("Transpose", (codes_name(name),), turned, perm=[0, 2, 3, 1])
            self.reshape(turned, codes_name(rows), (-1, self.shapes[name][0]))
            self.dequantize(codes_name(rows), rows, codes.step, codes.zero_point)
        return rows

    def parameters(self, layer: Conv) -> tuple[str, str]:
        conv = self.quantized.convs.get(layer.name)
        if conv is None:
            return self.float_parameters(layer)
        kernel = f"{layer.name}.weight"
        codes = self.constant(codes_name(kernel), conv.weight)
        steps = self.constant(f"{kernel}.steps", conv.steps)
        self.glue("DequantizeLinear", (codes, steps), kernel, axis=0)
        return kernel, self.bias(layer, conv, steps)

    def float_parameters(self, layer: Conv) -> tuple[str, str]:
        kernel = self.quantized.stored.get(layer.name)
        if kernel is None:
            return super().parameters(layer)
        name = f"{layer.name}.weight"
        known = self.kept.setdefault(kernel.weight.tobytes() + kernel.steps.tobytes(), name)
        if known == name:
            self.store_kernel(name, kernel)
        return known, self.weight(f"{layer.name}.bias", layer.bias)

    def bias(self, layer: Conv, conv: QuantizedConv, steps: str) -> str:
        """The bias in the units of the sum, where ``steps`` are those of the kernel."""
        source, bias = self.quantized.tensors[layer.inputs[0]], f"{layer.name}.bias"
        codes = self.constant(codes_name(bias), integer_bias(layer, conv, source))
        # Computed when the model is loaded: as constants they would be 3 % of the file.
        units = self.glue("Mul", (steps, self.step(source.step)), f"{bias}.steps")
        return self.glue("DequantizeLinear", (codes, units), bias, axis=0)

    def quantize(self, source: str, name: str, activation: Activation | None) -> None:
        """Float ``source`` to the codes of ``name``, clipped where bytes reach further."""
        codes = self.quantized.tensors[name]
        if codes.fill_bytes(activation):
            self.to_bytes(source, codes_name(name), codes.step, codes.zero_point)
            return
        low, high = (q + codes.zero_point for q in codes.after(activation))
        self.to_bytes(source, f"{name}.bytes", codes.step, codes.zero_point)
        bounds = self.byte(low), self.byte(high)
        self.glue("Clip", (f"{name}.bytes", *bounds), codes_name(name))

    def clip_and_quantize(self, name: str) -> None:
        """As ``quantize``, but clipped in float.

        Across this Clip ONNX Runtime cannot move QuantizeLinear. It would move it in front of a
        MaxPool, which takes ten times longer on bytes than on floats.
        """
        codes = self.quantized.tensors[name]
        low, high = (
            self.constant(f"{name}.{side}", np.array(codes.step * q, np.float32))
            for side, q in (("low", codes.low), ("high", HIGH))
        )
        clipped = self.glue("Clip", (f"{name}.float", low, high), f"{name}.clipped")
        self.to_bytes(clipped, codes_name(name), codes.step, codes.zero_point)

    def to_bytes(self, source: str, target: str, step: float, zero: int) -> None:
        self.glue("QuantizeLinear", (source, self.step(step), self.byte(zero)), target)

    def dequantize(self, source: str, target: str, step: float, zero: int) -> None:
        self.glue("DequantizeLinear", (source, self.step(step), self.byte(zero)), target)

    def step(self, step: float) -> str:
        # Of no dimension, as the zero points: with [1] a sum stays in float.
        return self.constant(f"step.{step:.9g}", np.array(step, np.float32))

    def byte(self, value: int) -> str:
        return self.constant(f"byte.{value}", np.array(value, np.uint8))

    def glue(self, kind: str, inputs: tuple[str, ...], output: str, **attributes: Any) -> str:
        """A node without a name: there are many, and names are 2 % of the file."""
        self.nodes.append(helper.make_node(kind, inputs, (output,), **attributes))
        return output

    def shuffle(self, layer: Shuffle) -> None:
        channels = self.shapes[layer.inputs[0]][0]
        order = np.arange(channels, dtype=np.int64).reshape(layer.groups, -1).T.ravel()
        name = self.constant(f"shuffle.{layer.groups}.{channels}", order)
        self.node("Gather", (*layer.inputs, name), layer.outputs, axis=1)


@int8_exporter("onnx", ".int8.onnx")
def write_onnx_int8(
    graph: Graph, quantized: QuantizedLayers, contract: ModelContract, path: Path
) -> None:
    """Write ``graph`` with the integer layers of ``quantized`` as one ONNX file.

    Input and outputs are those of the float file, float32. Tensors of codes are uint8 with the
    zero points of ``Codes``. A leaky ReLU reads its convolution's sum as bytes, as
    ``QuantizedConv`` says. The last convolutions multiply codes too, but give floats
    (``Products``); kernels that stay float are stored as in the small file. The same arguments give
    the same bytes.
    """
    _Int8Writer(graph, quantized).write(contract, path)
