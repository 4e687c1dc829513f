"""Writer of ncnn files: ``NAME.ncnn.param`` (text), ``NAME.ncnn.bin`` and ``NAME.ncnn.json``.

The parameter numbers are those of ncnn's ``operators`` reference; ncnn leaves the batch
dimension out, as ``Graph`` does, so axes agree.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileyolact.contract import ModelContract
from mobileyolact.export.formats import exporter
from mobileyolact.export.graph import (
    INPUT_NAME,
    Activation,
    Add,
    Concat,
    Conv,
    Flatten,
    Graph,
    Layer,
    MaxPool,
    Resize,
    ResizeTo,
    Shuffle,
    Split,
    Transpose,
    Ungroup,
)
from mobileyolact.export.half import stored
from mobileyolact.files import write_beside

MAGIC = 7767517
FLOAT32_TAG = 0
FLOAT16_TAG = 0x01306B47


class NcnnWriter:
    """Collects lines of the ``.param`` text and chunks of the ``.bin`` of one graph.

    Kernels are stored as float16; a subclass stores them otherwise.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.lines: list[str] = []
        self.blobs = 0
        self.chunks: list[bytes] = []
        self.copies: dict[str, list[str]] = {}

    def render(self) -> tuple[str, bytes]:
        """The ``.param`` text and the ``.bin``; once for each writer."""
        self.line("Input", INPUT_NAME, (), (INPUT_NAME,), "")
        for layer in self.graph.layers:
            kind, parameters = self.describe(layer)
            sources = tuple(self.take(name) for name in layer.inputs)
            self.line(kind, layer.name, sources, layer.outputs, parameters)
        text = f"{MAGIC}\n{len(self.lines)} {self.blobs}\n" + "\n".join(self.lines) + "\n"
        return text, b"".join(self.chunks)

    def save(self, contract: ModelContract, param_path: Path) -> None:
        """Write the three files, each whole or not at all.

        The ``.param`` comes last, so that a model which can be opened is complete.
        """
        text, weights = self.render()
        with write_beside(param_path.with_suffix(".bin")) as temporary:
            temporary.write_bytes(weights)
        with write_beside(param_path.with_suffix(".json")) as temporary:
            temporary.write_text(contract.to_json() + "\n", encoding="utf-8")
        with write_beside(param_path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    def line(
        self,
        kind: str,
        name: str,
        inputs: Iterable[str],
        outputs: tuple[str, ...],
        parameters: str,
    ) -> None:
        inputs = tuple(inputs)
        words = [kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, parameters]
        self.lines.append(" ".join(word for word in words if word))
        self.blobs += len(outputs)
        for output in outputs:
            # A blob of ncnn may be read once only: several readers need copies, which are free.
            count = self.graph.readers.get(output, 0)
            if count > 1:
                copies = tuple(f"{output}.copy{i}" for i in range(count))
                self.copies[output] = list(copies)
                self.line("Split", f"{output}.split", (output,), copies, "")

    def take(self, name: str) -> str:
        return self.copies[name].pop(0) if name in self.copies else name

    def describe(self, layer: Layer) -> tuple[str, str]:
        """Ncnn's name of the layer type, and its parameters."""
        match layer:
            case Conv():
                return self.convolution(layer)
            case MaxPool():
                # 5=1 drops incomplete windows; ncnn's default would add a row and a column.
                return "Pooling", f"0=0 1={layer.kernel} 2={layer.stride} 3={layer.padding} 5=1"
            case Split():
                # -233 is an equal part.
                sizes = ",".join(map(str, layer.sizes or ["-233"] * len(layer.outputs)))
                return "Slice", f"-23300={len(layer.outputs)},{sizes} 1=0"
            case Concat():
                return "Concat", f"0={layer.axis}"
            case Shuffle():
                return "ShuffleChannel", f"0={layer.groups}"
            case Resize():
                kind = {"nearest": 1, "bilinear": 2}[layer.mode]
                return "Interp", f"0={kind} 1={layer.scale:.1f} 2={layer.scale:.1f}"
            case ResizeTo():
                return "Interp", f"0=2 3={layer.size[0]} 4={layer.size[1]}"
            case Add():
                return "BinaryOp", "0=0"
            case Flatten():
                return "Reshape", f"0=-1 1={self.graph.shapes[layer.inputs[0]][0]}"
            case Transpose():
                return "Permute", "0=1"
            case Ungroup():
                return "Reshape", f"0={layer.values} 1=-1"
            case _:
                raise TypeError(f"no ncnn form of {type(layer).__name__}")

    def convolution(self, layer: Conv) -> tuple[str, str]:
        """Store weights and bias, and give what ``describe`` gives."""
        self.kernel(layer.weight)
        self.floats(layer.bias)
        return self.geometry(layer)

    def geometry(self, layer: Conv) -> tuple[str, str]:
        """Ncnn's name of a convolution, and all parameters but those of int8."""
        kind = "ConvolutionDepthWise" if layer.groups > 1 else "Convolution"
        out, _, kernel_h, kernel_w = layer.weight.shape
        pads = layer.pads
        parameters = f"0={out} 1={kernel_w} 11={kernel_h} 3={layer.stride} 4={pads.left} "
        parameters += f"14={pads.top} 15={pads.right} 16={pads.bottom} 5=1 6={layer.weight.size}"
        if layer.groups > 1:
            parameters += f" 7={layer.groups}"
        if layer.activation is not None:
            parameters += " " + _activation(layer.activation)
        return kind, parameters

    def kernel(self, weight: NDArray[np.float32]) -> None:
        """Store a kernel (out, in / groups, h, w)."""
        half = stored(weight)
        if half.dtype == np.float32:
            self.tagged(FLOAT32_TAG, half.astype("<f4").tobytes())
        else:
            self.tagged(FLOAT16_TAG, half.astype("<f2").tobytes())

    def tagged(self, tag: int, data: bytes) -> None:
        """Store ``data`` behind the ``tag`` that says what it is, filled up to 4 bytes."""
        self.chunks.append(struct.pack("<I", tag) + data + bytes(-len(data) % 4))

    def floats(self, values: NDArray[np.float32]) -> None:
        """Store values as float32; they have no tag."""
        self.chunks.append(values.astype("<f4").tobytes())


def _activation(activation: Activation) -> str:
    match activation.kind:
        case "relu":
            return "9=1"
        case "relu6":
            return "9=3 -23310=2,0.0,6.0"
        case "leaky_relu":
            return f"9=2 -23310=1,{activation.slope:e}"


@exporter("ncnn", ".ncnn.param", ".ncnn.bin", ".ncnn.json")
def write_ncnn(graph: Graph, contract: ModelContract, param_path: Path) -> None:
    """Write ``graph`` as ``NAME.ncnn.param`` with its ``.ncnn.bin`` and ``.ncnn.json``.

    Blobs are named as in the graph: ``image`` (3, H, W) in, ``graph.outputs`` out, without a
    batch dimension. Kernels are stored as float16; biases stay float32.
    """
    NcnnWriter(graph).save(contract, param_path)
