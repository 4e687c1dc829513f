"""The int8 arithmetic of ONNX Runtime on the CPU, emulated to the last bit, and compared with it.

The formulas are those of its kernels (``onnxruntime/core/mlas/lib``: ``quantize.cpp`` and
``qladd.cpp``; ``contrib_ops/cpu/quantization/qlinear_lookup_table.cc``), each in float32. They
are the same wherever integer sums do not saturate, which ``Codes.weight_limit`` takes care of,
but for QLinearAdd, which on Arm adds whole numbers.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mobileyolact.errors import ModelError
from mobileyolact.export.graph import INPUT_NAME, Add, Conv, Graph, Layer
from mobileyolact.export.onnx_int8 import (
    adds_leaky,
    codes_name,
    integer_bias,
)
from mobileyolact.export.products import find_products
from mobileyolact.export.quantized import (
    BYTE,
    HIGH,
    SLOPE_FACTOR,
    Codes,
    QuantizedConv,
    QuantizedLayers,
)
from mobileyolact.export.torch_layers import activate, compute, convolve
from mobileyolact.quantize.agreement import (
    Allowed,
    LayerAgreement,
    compare_codes,
    compare_floats,
)
from mobileyolact.quantize.emulate import accumulate, float_kernel
from mobileyolact.quantize.engines import on_x86, register

CodeArray = NDArray[np.int8]
FloatArray = NDArray[np.float32]

# In a layer that is computed in float, the order of a sum decides about a value that lies nearer
# than this, in codes, to the middle between two codes: either is right, any other is wrong.
_TIE = 0.01


def emulate_convolution(
    layer: Conv, conv: QuantizedConv, source: Codes, target: Codes, codes: CodeArray
) -> CodeArray:
    """QLinearConv, and what follows it: codes (in, h, w) of ``source`` to (out, h, w)."""
    sums = accumulate(layer, conv, codes) + integer_bias(layer, conv, source)[:, None, None]
    leaky = layer.activation is not None and layer.activation.kind == "leaky_relu"
    step = np.float32(conv.sum_step(target) if leaky else target.step)
    factors = np.float32(source.step) * conv.steps / step
    scaled = np.rint(sums.astype(np.float32) * factors[:, None, None])
    if layer.activation is None or not leaky:
        return scaled.clip(*target.after(layer.activation)).astype(np.int8)
    linear = scaled.clip(-conv.sum_zero, BYTE - conv.sum_zero)
    if adds_leaky(linear.shape):
        # No sum lies in the middle between two codes, so it is the same wherever it is computed.
        terms = conv.sum_terms(target, layer.activation.slope)
        return emulate_sum(terms, target, (linear, linear.clip(0)))
    values, slope = step * linear, np.float32(layer.activation.slope * SLOPE_FACTOR)
    return target.nearest(np.where(values >= 0, values, slope * values))


def emulate_product(
    layer: Conv, conv: QuantizedConv, source: Codes, codes: CodeArray
) -> FloatArray:
    """QGemm of a last convolution: codes (in, h, w) of ``source`` to floats (out, h, w)."""
    sums = accumulate(layer, conv, codes) + integer_bias(layer, conv, source)[:, None, None]
    units = np.float32(source.step) * conv.steps
    return sums.astype(np.float32) * units[:, None, None]


def emulate_sum(
    sources: tuple[Codes, Codes],
    target: Codes,
    codes: tuple[CodeArray, CodeArray],
    fused: bool = True,
) -> CodeArray:
    """QLinearAdd on x86, on bytes as it does it: codes of one shape to codes of the same shape.

    What all bytes have in common is ``fused`` to one rounding less by GCC, which builds ONNX
    Runtime for Linux; it is up to the compiler.
    """
    ratios = [np.float32(source.step) / np.float32(target.step) for source in sources]
    zeros = [np.float32(source.zero_point) for source in sources]
    zero = np.float32(target.zero_point)
    product = float(ratios[0]) * float(zeros[0]) if fused else float(ratios[0] * zeros[0])
    fixed = zero - np.float32(product + float(ratios[1] * zeros[1]))
    first, second = (q + z for q, z in zip(codes, zeros, strict=True))
    # It multiplies and adds with one rounding, which float64 has room to do.
    half = (second * np.float64(ratios[1]) + np.float64(fixed)).astype(np.float32)
    whole = (first * np.float64(ratios[0]) + half).astype(np.float32)
    scaled = np.rint(whole)
    return (scaled - zero).clip(target.low, HIGH).astype(np.int8)


def emulate_sum_on_arm(
    sources: tuple[Codes, Codes], target: Codes, codes: tuple[NDArray[Any], NDArray[Any]]
) -> CodeArray:
    """QLinearAdd on Arm: codes, integers of one shape, to codes of the same shape.

    The larger of the two ratios of steps becomes a number of 22 bits, halves are rounded away
    from 0. It does so for ratios between 2^-14 and 2^8, others it would add as floats.
    """
    ratios = [np.float32(source.step) / np.float32(target.step) for source in sources]
    shift = 22 - math.frexp(max(ratios))[1]
    assert 13 <= shift <= 31, "steps of one magnitude"
    factors = [int(np.rint(ratio * np.float32(2**shift))) for ratio in ratios]
    first, second = (q.astype(np.int64) * f for q, f in zip(codes, factors, strict=True))
    total: NDArray[np.int64] = first + second
    rounded: NDArray[np.int64] = (total - (total < 0) + 2 ** (shift - 1)) >> shift
    return np.clip(rounded, target.low, HIGH).astype(np.int8)


@register("onnx")
def check(
    graph: Graph, quantized: QuantizedLayers, path: Path, image: FloatArray
) -> list[tuple[LayerAgreement, Allowed]]:
    """Compare every layer of ``path`` that reads or gives codes with its emulation on that input.

    All codes must be equal, and floats nearly. Where a layer is computed in float, either neighbour
    is right for a value in the middle between two codes.

    Args:
        graph: what the file was written from.
        quantized: likewise.
        path: the file.
        image: input (1, 3, H, W).

    Raises:
        ModelError: ONNX Runtime cannot load the file.
    """
    layers = [layer for layer in graph.layers if quantized.tensors.keys() & {*layer.outputs}]
    products = find_products(graph, quantized).results
    last = [layer for layer in graph.layers if layer.name in products]
    names = {name for layer in layers for name in (*layer.inputs, *layer.outputs)}
    names |= {name for layer in last for name in layer.outputs}
    names |= {name for convs in products.values() for conv in convs for name in conv.inputs}
    arrays = _run(path, names - {INPUT_NAME}, quantized, image)
    found = []
    for layer in layers:
        for name, emulated in _emulate(layer, quantized, arrays).items():
            found.append((compare_codes(layer.name, arrays[name], emulated), Allowed()))
    for layer in last:
        values = [
            emulate_product(
                conv,
                quantized.stored[conv.name],
                quantized.tensors[conv.inputs[0]],
                arrays[conv.inputs[0]],
            )
            for conv in products[layer.name]
        ]
        if not isinstance(layer, Conv):
            values = [np.concatenate([v.reshape(len(v), -1).T for v in values])]
        found.append((compare_floats(layer.name, arrays[layer.outputs[0]], values[0]), Allowed()))
    return found


def _emulate(
    layer: Layer, quantized: QuantizedLayers, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, CodeArray]:
    """The codes that ``layer`` writes, by tensor, from the inputs that the engine had."""
    codes = quantized.tensors
    inputs = [arrays[name] for name in layer.inputs]
    if isinstance(layer, Conv) and layer.name in quantized.convs:
        source, target = codes[layer.inputs[0]], codes[layer.outputs[0]]
        conv = quantized.convs[layer.name]
        return {layer.outputs[0]: emulate_convolution(layer, conv, source, target, inputs[0])}
    if isinstance(layer, Add) and codes.keys() >= {*layer.inputs}:
        first, second = (codes[name] for name in layer.inputs)
        (name,) = layer.outputs
        summed = (first, second), codes[name], (inputs[0], inputs[1])
        if not on_x86():
            return {name: emulate_sum_on_arm(*summed)}
        unfused = emulate_sum(*summed, fused=False)
        agrees = unfused == arrays[name]
        return {name: np.where(agrees, unfused, emulate_sum(*summed))}
    if quantized.moves(layer):
        moved = (values.astype(np.int8) for values in _compute(layer, quantized, inputs))
        return dict(zip(layer.outputs, moved, strict=True))
    values = _compute(
        layer,
        quantized,
        [
            np.float32(codes[name].step) * array if name in codes else array
            for name, array in zip(layer.inputs, inputs, strict=True)
        ],
    )
    return {
        name: _settle_ties(value, codes[name], arrays[name])
        for name, value in zip(layer.outputs, values, strict=True)
        if name in codes
    }


def _compute(
    layer: Layer, quantized: QuantizedLayers, inputs: list[NDArray[Any]]
) -> list[FloatArray]:
    """What ``layer`` makes of arrays without a batch dimension, in PyTorch in float32."""
    tensors = [torch.from_numpy(array.astype(np.float32))[None] for array in inputs]
    if not isinstance(layer, Conv):
        return [output[0].numpy() for output in compute(layer, tensors)]
    kernel = torch.from_numpy(float_kernel(layer, quantized))
    value = convolve(layer, tensors[0], kernel, torch.from_numpy(layer.bias))
    return [(value if layer.activation is None else activate(value, layer.activation))[0].numpy()]


def _settle_ties(values: FloatArray, codes: Codes, engine: CodeArray) -> CodeArray:
    """The codes of ``values``: in the middle between two the one that ``engine`` took."""
    scaled = (values / np.float32(codes.step)).clip(codes.low, HIGH)
    return np.where(np.abs(scaled - engine) <= 0.5 + _TIE, engine, codes.nearest(values))


def _run(
    path: Path, names: set[str], quantized: QuantizedLayers, image: FloatArray
) -> dict[str, NDArray[Any]]:
    """Tensors of the graph as the engine has them, codes as int8; the image comes along."""
    import onnxruntime

    model = onnx.load(path)
    fetched = {codes_name(n) if n in quantized.tensors else n: n for n in sorted(names)}
    written = {output.name for output in model.graph.output}
    for tensor, name in fetched.items():
        if tensor in written:
            continue
        kind = TensorProto.UINT8 if name in quantized.tensors else TensorProto.FLOAT
        model.graph.output.append(helper.make_tensor_value_info(tensor, kind, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the engine has a class of its own for every kind of failure
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"ONNX Runtime cannot load {path}: {reason}; quantize the model again"
        ) from None
    results = session.run(list(fetched), {INPUT_NAME: image})
    arrays = {INPUT_NAME: image[0]}
    for name, result in zip(fetched.values(), results, strict=True):
        codes = quantized.tensors.get(name)
        # A byte beyond 127 wraps round: then it differs from every code.
        arrays[name] = result[0] if codes is None else (result[0] - codes.zero_point).astype("int8")
    return arrays
