"""Writer of ONNX files (opset 17, IR 8: read by onnxruntime 1.12 and later, and by browsers)."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mobileyolact import __version__
from mobileyolact.contract import CONTRACT_KEY, ModelContract
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

OPSET = 17
IR_VERSION = 8


class OnnxWriter:
    """Collects nodes and initializers; every tensor of the graph gets a batch dimension of 1."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes = dict(graph.shapes)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.shared: dict[int, str] = {}

    def write(self, contract: ModelContract, path: Path) -> None:
        """Emit all layers and write them, with ``contract``, as one file."""
        for layer in self.graph.layers:
            self.emit(layer)
        model = self.model(contract)
        onnx.checker.check_model(model)
        with write_beside(path) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))

    def model(self, contract: ModelContract) -> onnx.ModelProto:
        """What was emitted, with ``contract`` in its metadata."""
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                contract.name,
                [self.value(INPUT_NAME)],
                [self.value(name) for name in self.graph.outputs],
                list(self.initializers.values()),
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="mobileyolact",
            producer_version=__version__,
        )
        helper.set_model_props(model, {CONTRACT_KEY: contract.to_json()})
        return model

    def value(self, name: str) -> onnx.ValueInfoProto:
        """The float32 tensor ``name`` as an input or output of the file."""
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *self.graph.shapes[name]))

    def node(
        self, kind: str, inputs: tuple[str, ...], outputs: tuple[str, ...], **attributes: Any
    ) -> None:
        name = outputs[0] if len(outputs) == 1 else f"{inputs[0]}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, **attributes))

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def weight(self, name: str, value: NDArray[np.float32]) -> str:
        """The name of a float32 tensor; what several layers have in common is written once."""
        known = self.shared.setdefault(id(value), name)
        if known == name:
            self.store(name, value)
        return known

    def store(self, name: str, value: NDArray[np.float32]) -> None:
        """Write ``value``, to be read as the float32 tensor ``name``.

        What is stored as half is cast; the engine does that once, when it loads the model.
        """
        small = stored(value)
        if small.dtype == np.float32:
            self.constant(name, small)
        else:
            half = self.constant(f"{name}.half", small)
            self.node("Cast", (half,), (name,), to=TensorProto.FLOAT)

    def emit(self, layer: Layer) -> None:
        match layer:
            case Conv():
                self.convolution(layer)
            case MaxPool():
                self.node(
                    "MaxPool",
                    layer.inputs,
                    layer.outputs,
                    kernel_shape=[layer.kernel] * 2,
                    strides=[layer.stride] * 2,
                    pads=[layer.padding] * 4,
                )
            case Split():
                sizes = np.array([self.shapes[name][0] for name in layer.outputs], np.int64)
                split = self.constant(f"{layer.name}.sizes", sizes)
                self.node("Split", (*layer.inputs, split), layer.outputs, axis=1)
            case Concat():
                self.node("Concat", layer.inputs, layer.outputs, axis=layer.axis + 1)
            case Shuffle():
                self.shuffle(layer)
            case Resize():
                self.resize(layer)
            case ResizeTo():
                self.resize_to(layer)
            case Add():
                self.node("Add", layer.inputs, layer.outputs)
            case Flatten():
                self.reshape(layer.inputs[0], layer.outputs[0], (0, 0, -1))
            case Transpose():
                self.node("Transpose", layer.inputs, layer.outputs, perm=[0, 2, 1])
            case Ungroup():
                self.reshape(layer.inputs[0], layer.outputs[0], (0, -1, layer.values))
            case _:
                raise TypeError(f"no ONNX form of {type(layer).__name__}")

    def convolution(self, layer: Conv) -> None:
        (output,) = layer.outputs
        if layer.activation is None:
            self.convolve(layer, output)
        else:
            self.convolve(layer, f"{output}.linear")
            self.activate(f"{output}.linear", output, layer.activation)

    def convolve(self, layer: Conv, output: str) -> None:
        """The convolution of ``layer`` before its activation."""
        pads = layer.pads
        self.node(
            "Conv",
            (*layer.inputs, *self.parameters(layer)),
            (output,),
            kernel_shape=list(layer.weight.shape[2:]),
            strides=[layer.stride] * 2,
            pads=[pads.top, pads.left, pads.bottom, pads.right],
            group=layer.groups,
        )

    def parameters(self, layer: Conv) -> tuple[str, str]:
        """The names of the kernel and the bias."""
        return (
            self.weight(f"{layer.name}.weight", layer.weight),
            self.weight(f"{layer.name}.bias", layer.bias),
        )

    def activate(self, source: str, target: str, activation: Activation) -> None:
        match activation.kind:
            case "relu":
                self.node("Relu", (source,), (target,))
            case "relu6":
                low = self.constant("relu6.low", np.array(0, np.float32))
                high = self.constant("relu6.high", np.array(6, np.float32))
                self.node("Clip", (source, low, high), (target,))
            case "leaky_relu":
                self.node("LeakyRelu", (source,), (target,), alpha=activation.slope)

    def shuffle(self, layer: Shuffle) -> None:
        (source,), (target,) = layer.inputs, layer.outputs
        channels, height, width = self.shapes[source]
        grouped, swapped = f"{target}.grouped", f"{target}.swapped"
        self.reshape(source, grouped, (1, layer.groups, channels // layer.groups, height, width))
        self.node("Transpose", (grouped,), (swapped,), perm=[0, 2, 1, 3, 4])
        self.reshape(swapped, target, (1, channels, height, width))

    def resize(self, layer: Resize) -> None:
        scale = self.constant(
            f"scale.{layer.scale}", np.array([1, 1, layer.scale, layer.scale], np.float32)
        )
        attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if layer.mode == "nearest":
            attributes = {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            }
        self.node("Resize", (*layer.inputs, "", scale), layer.outputs, **attributes)

    def resize_to(self, layer: ResizeTo) -> None:
        shape = (1, *self.shapes[layer.outputs[0]])
        sizes = self.constant("size." + "x".join(map(str, shape)), np.array(shape, np.int64))
        self.node(
            "Resize",
            (*layer.inputs, "", "", sizes),
            layer.outputs,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def reshape(self, source: str, target: str, shape: tuple[int, ...]) -> None:
        name = "shape." + "x".join(map(str, shape))
        self.node("Reshape", (source, self.constant(name, np.array(shape, np.int64))), (target,))


@exporter("onnx", ".onnx")
def write_onnx(graph: Graph, contract: ModelContract, path: Path) -> None:
    """Write ``graph`` as one ONNX file that carries ``contract`` in its metadata.

    Input ``image`` (1, 3, H, W) float32; outputs as ``graph.outputs``, each with a leading
    batch dimension of 1. Kernels are stored as float16 and computed in float32.
    The same graph and contract give the same bytes.
    """
    OnnxWriter(graph).write(contract, path)
