"""Writer of ncnn int8 files, in pure Python: ncnn's own quantization tool is not needed.

The format is that of ncnn's ``src/layer/convolution.cpp`` and ``convolutiondepthwise.cpp``. Of all
layers only convolutions take codes. Each reads codes, or floats that it rounds to codes itself,
and writes codes where its parameter 8 is above 100, else floats.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from mobileyolact.contract import ModelContract
from mobileyolact.export.formats import int8_exporter
from mobileyolact.export.graph import Conv, Graph
from mobileyolact.export.ncnn_small import SmallWriter
from mobileyolact.export.quantized import QuantizedLayers

INT8_TAG = 0x000D4B38
# Values of parameter 8 with which every output channel has its own weight scale.
DENSE, DEPTHWISE = 2, 1
REQUANTIZED = 100  # added to it: the output is codes


def integer_convs(graph: Graph, quantized: QuantizedLayers) -> frozenset[str]:
    """Names of the convolutions of ``quantized`` that ncnn can compute with integers.

    It cannot those in groups of several channels: it has one weight scale for a whole group.
    """
    return frozenset(
        layer.name
        for layer in graph.layers
        if isinstance(layer, Conv)
        and layer.name in quantized.convs
        and (layer.groups == 1 or layer.weight.shape[:2] == (layer.groups, 1))
    )


def requantized_convs(graph: Graph, convs: Collection[str]) -> frozenset[str]:
    """Those of the integer convolutions ``convs`` that write codes.

    They may if all that read their output are integer convolutions: no other layer takes codes,
    but for the copies that several readers need.
    """
    floats = set(graph.outputs)
    for layer in graph.layers:
        if layer.name not in convs:
            floats.update(layer.inputs)
    return frozenset(
        layer.name
        for layer in graph.layers
        if layer.name in convs and floats.isdisjoint(layer.outputs)
    )


class Int8Writer(SmallWriter):
    """Stores the integer kernels of ``quantized``, and other kernels as in the small file."""

    def __init__(self, graph: Graph, quantized: QuantizedLayers) -> None:
        super().__init__(graph)
        self.quantized = quantized
        self.convs = integer_convs(graph, quantized)
        self.requantized = requantized_convs(graph, self.convs)

    def convolution(self, layer: Conv) -> tuple[str, str]:
        if layer.name not in self.convs:
            return super().convolution(layer)
        conv = self.quantized.convs[layer.name]
        self.tagged(INT8_TAG, conv.weight.tobytes())
        self.floats(layer.bias)
        self.floats(np.float32(1) / conv.steps)
        self.scale(layer.inputs[0])
        term = DENSE if layer.groups == 1 else DEPTHWISE
        if layer.name in self.requantized:
            self.scale(layer.outputs[0])
            term += REQUANTIZED
        kind, parameters = self.geometry(layer)
        return kind, f"{parameters} 8={term}"

    def scale(self, tensor: str) -> None:
        """Store how many codes of ``tensor`` are 1, which is what ncnn multiplies by."""
        self.floats(np.float32(1) / np.array([self.quantized.tensors[tensor].step], np.float32))


@int8_exporter("ncnn", ".int8.ncnn.param", ".int8.ncnn.bin", ".int8.ncnn.json")
def write_ncnn_int8(
    graph: Graph, quantized: QuantizedLayers, contract: ModelContract, param_path: Path
) -> None:
    """Write ``graph`` with the integer kernels of ``quantized``; files as in ``write_ncnn``.

    Tensors between an integer convolution and another layer are float32 in ncnn, and are rounded
    to the codes of ``quantized`` by the next integer convolution. Leave depthwise convolutions
    out of ``quantized`` where ncnn is slower with them than in float: on x86.
    """
    Int8Writer(graph, quantized).save(contract, param_path)
