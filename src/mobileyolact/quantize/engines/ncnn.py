"""The int8 arithmetic of ncnn, emulated to the last bit, and compared with ncnn itself.

Read from ncnn's sources of x86 (``convolution_x86.cpp``, ``convolutiondepthwise_x86.cpp``,
``quantize_x86.cpp``, ``requantize_x86.cpp``). Only convolutions are integer in ncnn: what lies
between is float32, as in the float file, and has no codes to compare.

On Arm (``convolution_arm.cpp``, ``requantize_arm.cpp``) other is only where it rounds: sums are
multiplied by input and output scale in one go where a ReLU or a leaky one follows, product and bias
are added with one rounding, and the reciprocal in depthwise convolutions is a division. So a value
is right there if a few roundings of float32 more or less lead to it.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileyolact.errors import ModelError
from mobileyolact.export.graph import INPUT_NAME, Activation, Conv, Graph
from mobileyolact.export.ncnn_int8 import Int8Writer, integer_convs, requantized_convs
from mobileyolact.export.quantized import HIGH, Codes, QuantizedConv, QuantizedLayers
from mobileyolact.quantize.agreement import Allowed, LayerAgreement, compare_codes
from mobileyolact.quantize.emulate import accumulate
from mobileyolact.quantize.engines import on_x86, register

FloatArray = NDArray[np.float32]

# Depthwise kernels of x86 multiply by an approximate reciprocal, which depends on the processor:
# the check asks ncnn for it. Ties remain, as some of them round once where others round twice.
RECIPROCAL_ERROR = 1.5 * 2**-12  # relative, of the instruction RCPPS
DEPTHWISE = Allowed(share=0.003, largest=1)
# On Arm: as many as any order of a handful of operations has, in units of the last place.
ROUNDINGS = 8


def quantize(values: FloatArray, step: float) -> NDArray[np.int8]:
    """Float32 values of any shape as codes: times the inverse step, half away from zero."""
    scaled = values * (np.float32(1) / np.float32(step))
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    codes: NDArray[np.int8] = np.clip(rounded, -HIGH, HIGH).astype(np.int8)
    return codes


def multipliers(conv: QuantizedConv, step: float) -> FloatArray:
    """What each output channel's sums are multiplied by, for an input at ``step``: (out,)."""
    one = np.float32(1)
    return one / (one / np.float32(step) * (one / conv.steps))


def convolve(
    layer: Conv, conv: QuantizedConv, codes: NDArray[np.int8], factors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The float32 output (out, h, w) of an integer convolution, before it is requantized.

    Args:
        layer: geometry, bias and activation.
        conv: the integer kernel.
        codes: the input (in, h, w).
        factors: of ``multipliers``, or as the engine has them.

    Returns:
        The output, and for each value what one rounding more or less can change: depending on
        the processor, product and bias are added with one rounding or two.
    """
    sums = accumulate(layer, conv, codes).astype(np.float32)
    factors, bias = factors[:, None, None], layer.bias[:, None, None]
    product = sums * factors
    values = product + bias
    if layer.groups == 1:
        # One rounding. float64 holds the product of two float32 exactly.
        values = (sums.astype(np.float64) * factors + bias).astype(np.float32)
    return _activate(values, layer.activation), np.spacing(np.abs(product) + np.abs(bias))


def _activate(values: FloatArray, activation: Activation | None) -> FloatArray:
    if activation is None:
        return values
    match activation.kind:
        case "relu":
            return np.maximum(values, 0)
        case "relu6":
            return np.clip(values, np.float32(0), np.float32(6))
        case "leaky_relu":
            return np.where(values > 0, values, values * np.float32(activation.slope))


@register("ncnn")
def check(
    graph: Graph, quantized: QuantizedLayers, path: Path, image: FloatArray
) -> list[tuple[LayerAgreement, Allowed]]:
    """Compare every integer convolution of ``path`` with its emulation, on ncnn's own inputs.

    Codes must be equal, on Arm but for roundings; those of a depthwise convolution may differ as
    ``DEPTHWISE`` says. Where a convolution writes floats, a value counts as different if it is
    farther away than one rounding, on Arm ``ROUNDINGS``, and the difference is told in steps of
    the codes that it is elsewhere.

    Args:
        graph: what the file was written from.
        quantized: likewise.
        path: the ``.param`` file.
        image: input (1, 3, H, W).

    Raises:
        ModelError: ncnn cannot load or compute the file.
    """
    convs = integer_convs(graph, quantized)
    requantized = requantized_convs(graph, convs)
    coded = {layer.outputs[0] for layer in graph.layers if layer.name in requantized}
    fetch = _run(path, np.ascontiguousarray(image[0], np.float32))
    found = []
    for layer in graph.layers:
        if not isinstance(layer, Conv) or layer.name not in convs:
            continue
        (source,), (target,) = layer.inputs, layer.outputs
        conv, step = quantized.convs[layer.name], quantized.tensors[source].step
        depthwise = layer.groups > 1
        factors = multipliers(conv, step)
        if depthwise:
            # Within the error of the instruction only: what was written wrongly stays wrong.
            bounds = factors * (1 - RECIPROCAL_ERROR), factors * (1 + RECIPROCAL_ERROR)
            factors = np.clip(_ask_multipliers(quantized, conv, step), *bounds)
        values = fetch(source)
        codes = values.astype(np.int8) if source in coded else quantize(values, step)
        emulated, rounding = convolve(layer, conv, codes, factors)
        to = quantized.tensors[target].step
        if target in coded:
            codes, slack = fetch(target).astype(np.int8), 0 if on_x86() else ROUNDINGS * rounding
            low, high = quantize(emulated - slack, to), quantize(emulated + slack, to)
            agreement = compare_codes(layer.name, codes, codes.clip(low, high))
        else:
            rounding = rounding * (1 if on_x86() else ROUNDINGS)
            agreement = _compare_floats(layer.name, fetch(target), emulated, rounding, to)
        found.append((agreement, DEPTHWISE if depthwise else Allowed()))
    return found


def _compare_floats(
    layer: str, engine: FloatArray, emulated: FloatArray, rounding: FloatArray, step: float
) -> LayerAgreement:
    difference = np.abs(engine - emulated)
    differing = int(np.count_nonzero(~(difference <= rounding)))
    far = np.nan_to_num(difference / step, nan=np.inf).clip(0, HIGH).max()
    largest = int(np.ceil(far)) if differing else 0
    return LayerAgreement(layer, difference.size, differing, largest)


def _ask_multipliers(quantized: QuantizedLayers, conv: QuantizedConv, step: float) -> FloatArray:
    """The multipliers of a depthwise convolution as ncnn has them: its answer to a sum of 1."""
    channels = len(conv.steps)
    ones = np.ones((channels, 1, 1, 1), np.int8)
    layer = Conv(
        name="sums",
        inputs=(INPUT_NAME,),
        outputs=("sums",),
        weight=ones.astype(np.float32),
        bias=np.zeros(channels, np.float32),
        groups=channels,
    )
    record = replace(
        quantized,
        tensors={INPUT_NAME: Codes(step, 0)},
        convs={layer.name: QuantizedConv(ones, conv.steps)},
    )
    graph = Graph((layer,), (channels, 1, 1), ("sums",))
    text, weights = Int8Writer(graph, record).render()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sums.param"
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".bin").write_bytes(weights)
        return _run(path, np.full(graph.input_shape, step, np.float32))("sums").ravel()


def _run(path: Path, image: FloatArray) -> Callable[[str], FloatArray]:
    """Run a file on ``image`` (3, H, W), all in float32; gives any tensor by name."""
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = 1
    network.opt.use_vulkan_compute = False
    network.opt.use_fp16_packed = False
    network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = False
    if network.load_param(str(path)) != 0 or network.load_model(str(path.with_suffix(".bin"))) != 0:
        raise ModelError(f"ncnn cannot load {path}; quantize the model again")
    extractor: Any = network.create_extractor()
    extractor.set_light_mode(False)  # else tensors are gone once they have been read
    extractor.input(INPUT_NAME, ncnn.Mat(image).clone())

    def fetch(name: str) -> FloatArray:
        code, mat = extractor.extract(name)
        if code != 0:
            raise ModelError(f"ncnn cannot compute '{name}' of {path}; quantize the model again")
        return np.array(mat, dtype=np.float32)

    return fetch
