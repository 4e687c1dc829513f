"""The same network in fewer operations: what files are written from."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mobileyolact.export.graph import Conv, Graph, Layer, Split
from mobileyolact.export.pruning import without_constants, without_constants_int8
from mobileyolact.export.quantized import QuantizedConv, QuantizedLayers
from mobileyolact.export.routing import routed
from mobileyolact.export.zeros import without_zeros, without_zeros_int8

# Engines compute faster on such a number of channels: ONNX Runtime in blocks, ncnn packed. Of bytes
# ONNX Runtime's depthwise convolutions take the channels beyond a multiple of 8 one by one.
_MULTIPLE, _BYTES = 4, 8


def faster(graph: Graph) -> Graph:
    """``graph`` without useless channels and with as little moving of channels as possible.

    Outputs are the same but for float rounding: 115 dB and more on the embedded model, where half
    the precision of the weights costs 54 dB. For float files.
    """
    return routed(without_constants(without_zeros(graph)), _MULTIPLE)


def faster_int8(
    graph: Graph, quantized: QuantizedLayers, format: str
) -> tuple[Graph, QuantizedLayers]:
    """As ``faster``, with what int8 adds to the graph, for files of ``format``.

    Integers are added up exactly in any order, so codes are the same. Constant channels go in ONNX
    alone: ONNX Runtime adds biases to integers too, and others are not faster without them.
    """
    multiple = _MULTIPLE
    graph, quantized = without_zeros_int8(graph, quantized)
    if format == "onnx":
        multiple = _BYTES
        graph, quantized = without_constants_int8(graph, quantized)
    before = {**quantized.convs, **quantized.stored}
    layers = tuple(_as_kernel(layer, before) for layer in graph.layers)
    kernels = routed(replace(graph, layers=layers), multiple)
    after = {
        layer.name: _as_conv(layer, before[layer.name])
        for layer in kernels.layers
        if isinstance(layer, Conv) and layer.name in before
    }
    convs, stored = ({n: after[n] for n in part} for part in (quantized.convs, quantized.stored))
    moved = routed(graph, multiple)
    tensors = {name: codes for name, codes in quantized.tensors.items() if name in moved.shapes}
    sources = {layer.name: layer.inputs[0] for layer in graph.layers}
    for layer in moved.layers:
        if layer.name in convs:
            tensors.setdefault(layer.inputs[0], quantized.tensors[sources[layer.name]])
        if isinstance(layer, Split) and layer.inputs[0] in tensors:
            tensors.update(dict.fromkeys(layer.outputs, tensors[layer.inputs[0]]))
    return moved, replace(quantized, tensors=tensors, convs=convs, stored=stored)


def _as_kernel(layer: Layer, convs: Mapping[str, QuantizedConv]) -> Layer:
    """``layer`` with its integer kernel as weights and its steps as bias, if it has them."""
    conv = convs.get(layer.name)
    if not isinstance(layer, Conv) or conv is None:
        return layer
    return replace(layer, weight=conv.weight.astype(np.float32), bias=conv.steps)


def _as_conv(kernel: Conv, before: QuantizedConv) -> QuantizedConv:
    return replace(
        before,
        weight=kernel.weight.astype(np.int8),
        steps=np.where(kernel.bias > 0, kernel.bias, np.float32(1)),  # 0 in channels of zeros
    )
