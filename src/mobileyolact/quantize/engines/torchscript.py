"""The int8 arithmetic of PyTorch's engines, emulated, and compared with the engines themselves.

FBGEMM's roundings are known one by one, and its codes are demanded exactly. oneDNN multiplies and
adds in another order on every kind of processor, so the exact value is taken there: its code is
demanded wherever float32 cannot land on the other side of a half.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileyolact.export.graph import INPUT_NAME, Add, Conv, Graph, Layer
from mobileyolact.export.quantized import (
    BYTE,
    HIGH,
    SLOPE_FACTOR,
    Codes,
    QuantizedConv,
    QuantizedLayers,
)
from mobileyolact.export.torch_layers import activate, compute, convolve
from mobileyolact.export.torchscript_int8 import variables
from mobileyolact.quantize.agreement import Allowed, LayerAgreement, compare_codes
from mobileyolact.quantize.emulate import accumulate, float_kernel
from mobileyolact.quantize.engines import register
from mobileyolact.runtime.backends.torchscript import (
    int8_engine,
    quantized_engine,
    without_deprecation,
)

Array = NDArray[np.float64]
Int8 = NDArray[np.int8]

ROUNDING = 2.0**-24  # of float32, relative
# More roundings than any order of the few operations between sums and codes has.
_FEW = 8


@register("torchscript")
def check(
    graph: Graph, quantized: QuantizedLayers, path: Path, image: NDArray[np.float32]
) -> list[tuple[LayerAgreement, Allowed]]:
    """Compare every layer of ``path`` that writes codes with its emulation, on its own inputs.

    On x86 both by FBGEMM and by oneDNN, which between them are what PyTorch uses there.

    Args:
        graph: what the file was written from.
        quantized: likewise.
        path: a file of ``write_torchscript_int8``.
        image: input (1, 3, H, W).

    Returns:
        For each engine the layers in their order. A code differs that is none of those that the
        emulation leaves open, which for FBGEMM's convolutions is a single one.

    Raises:
        ModelError: this PyTorch has no int8 arithmetic.
    """
    engines = [int8_engine(f"{path} cannot be checked")]
    if "fbgemm" in torch.backends.quantized.supported_engines and "fbgemm" not in engines:
        engines.append("fbgemm")
    found = []
    for engine in engines:
        tensors = run_all(graph, path, image, engine)
        for layer in graph.layers:
            names = [name for name in layer.outputs if name in quantized.tensors]
            if not names:
                continue
            emulated = emulate(layer, quantized, tensors, engine)
            # Joined, so that a layer with several outputs is still one.
            codes = np.concatenate([_codes(tensors[name]).ravel() for name in names])
            low, high = (
                np.concatenate([emulated[name][side].ravel() for name in names]) for side in (0, 1)
            )
            found.append((compare_codes(layer.name, codes, codes.clip(low, high)), Allowed()))
    return found


def run_all(graph: Graph, path: Path, image: NDArray[np.float32], engine: str) -> dict[str, Tensor]:
    """Every tensor of ``graph`` as the program in ``path`` computes it, by name.

    The program runs as it was written, but for its last line: that gives all of its variables.
    """
    names = variables(graph)
    computed = [name for layer in graph.layers for name in layer.outputs]
    returned = "return [" + ", ".join(names[name] for name in computed) + "]\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry.endswith("/torchscript_int8.py"):
                program = re.sub(r"-> Tuple\[[^]]*\]:", "-> List[Tensor]:", data.decode())
                data = (program[: program.rindex("return ")] + returned).encode()
            target.writestr(entry, data)
    buffer.seek(0)
    load: Any = torch.jit.load
    picture = torch.from_numpy(image.copy())
    with without_deprecation(), quantized_engine(engine), torch.inference_mode():
        values = load(buffer)(picture)
    return {INPUT_NAME: picture, **dict(zip(computed, values, strict=True))}


def emulate(
    layer: Layer, quantized: QuantizedLayers, tensors: dict[str, Tensor], engine: str
) -> dict[str, tuple[Int8, Int8]]:
    """The least and greatest code that ``engine`` may compute from the inputs in ``tensors``.

    Args:
        layer: one that writes codes.
        quantized: the steps and integer kernels.
        tensors: the inputs, with a batch of 1: float32, or quint8 for codes.
        engine: as PyTorch calls it.

    Returns:
        By name of each output of codes two arrays of its shape without batch.
    """
    inputs = [tensors[name] for name in layer.inputs]
    targets = {name: quantized.tensors.get(name) for name in layer.outputs}
    if isinstance(layer, Conv) and layer.name in quantized.convs:
        ((name, to),) = targets.items()
        assert to is not None, "integer convolutions write codes"
        source = quantized.tensors[layer.inputs[0]]
        conv = quantized.convs[layer.name]
        return {name: _integer(layer, conv, source, to, _codes(inputs[0]), engine)}
    if quantized.moves(layer):
        moved = compute(layer, [torch.from_numpy(_codes(x)[None]).float() for x in inputs])
        values = [x[0].numpy().astype(np.int8) for x in moved]
        return {name: (x, x) for name, x in zip(targets, values, strict=True)}
    floated = _in_float(layer, quantized, inputs)
    return {
        name: _encode(value[0].double().numpy(), error[0].double().numpy(), to)
        for (name, to), (value, error) in zip(targets.items(), floated, strict=True)
        if to is not None
    }


def _codes(x: Tensor) -> NDArray[np.int16]:
    """Codes (channels, ..) of a quint8 tensor with a batch of 1."""
    codes: NDArray[np.int16] = x.int_repr()[0].numpy().astype(np.int16) - x.q_zero_point()
    return codes


def _integer(
    layer: Conv,
    conv: QuantizedConv,
    source: Codes,
    to: Codes,
    codes: NDArray[np.int16],
    engine: str,
) -> tuple[Int8, Int8]:
    """The codes of an integer convolution of ``codes`` (in, h, w)."""
    sums = accumulate(layer, conv, codes.astype(np.int8))
    bias = layer.bias[:, None, None]
    units = (np.float32(source.step) * conv.steps)[:, None, None]
    step, zero, slope = np.float32(to.step), to.zero_point, None
    if layer.activation is not None and layer.activation.kind == "leaky_relu":
        step, zero = np.float32(conv.sum_step(to)), conv.sum_zero
        slope = layer.activation.slope * SLOPE_FACTOR
    if engine == "fbgemm":
        low = high = np.rint((sums.astype(np.float32) + bias / units) * (units / step))
    else:
        products = sums * units
        # The zero point is added before rounding, so the spacing of floats there matters too.
        reach = (np.abs(products) + np.abs(bias)) / step + zero
        error = _FEW * ROUNDING * reach
        if engine == "qnnpack":
            error += units / step / 2  # it rounds the bias to whole units
        values = (products + bias) / step
        low, high = np.rint(values - error), np.rint(values + error)
    bounds = to.after(layer.activation)

    def finish(linear: NDArray[np.floating[Any]]) -> Int8:
        if slope is not None:
            linear = linear.clip(-zero, BYTE - zero) * conv.sum_factor
            linear = np.rint(np.where(linear < 0, linear * slope, linear))
        return linear.clip(*bounds).astype(np.int8)

    return finish(low), finish(high)


def _in_float(
    layer: Layer, quantized: QuantizedLayers, inputs: list[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Each output of a layer computed in float32, and how far another order may lie from it."""
    floats = [x.dequantize() for x in inputs]
    if isinstance(layer, Conv):
        x, bias = floats[0].double(), torch.from_numpy(layer.bias).double()
        kernel = torch.from_numpy(float_kernel(layer, quantized).astype(np.float64))
        value = convolve(layer, x, kernel, bias)
        if layer.activation is not None:
            value = activate(value, layer.activation)
        reach = convolve(layer, x.abs(), kernel.abs(), bias.abs())
        return [(value, (layer.weight[0].size + _FEW) * ROUNDING * reach)]
    results = compute(layer, floats)
    if isinstance(layer, Add):  # a byte and the zero point are multiplied apart from each other
        zeros = sum(x.q_scale() * x.q_zero_point() for x in inputs if x.is_quantized)
        return [(results[0], _FEW * ROUNDING * (floats[0].abs() + floats[1].abs() + zeros))]
    return [(x, _FEW * ROUNDING * x.abs()) for x in results]


def _encode(values: Array, error: Array, codes: Codes) -> tuple[Int8, Int8]:
    """The codes of float ``values`` that are known but for ``error``."""
    error = error / codes.step + _FEW * ROUNDING * codes.zero_point
    steps = values / codes.step
    low, high = (np.rint(x).clip(codes.low, HIGH) for x in (steps - error, steps + error))
    return low.astype(np.int8), high.astype(np.int8)
