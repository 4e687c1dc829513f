"""From the PyTorch network to a ``Graph``: a walk over torch.fx's record, batch norm folded."""

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from mobileyolact.contract import OUTPUT_NAMES, ModelContract
from mobileyolact.errors import ModelError
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
    Pads,
    Resize,
    ResizeTo,
    Shape,
    Shuffle,
    Split,
    Transpose,
    Ungroup,
    infer,
)
from mobileyolact.model import layers
from mobileyolact.model.kernels import empty_rings, without_rings
from mobileyolact.model.layers import ConvNorm, SharedConvNorm

Folded = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Origin:
    """The modules that a convolution of a graph was folded from."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None


def build_graph(network: nn.Module, contract: ModelContract) -> Graph:
    """Turn a network into the list of layers that the writers read.

    Layers are called by their module paths. The network is read as in evaluation and is not
    changed; it maps (1, 3, H, W) float32 to the four tensors of ``OUTPUT_NAMES``, and
    ``contract.input_size`` gives H and W.

    Raises:
        ModelError: the network has an operation that no writer knows, or the input size does
            not fit its strides.
    """
    return trace(network, (3, *contract.input_size), OUTPUT_NAMES)


def trace(network: nn.Module, input_shape: Shape, outputs: Sequence[str]) -> Graph:
    """As ``build_graph``, for any network made of the same operations; ``outputs`` names them."""
    return trace_origins(network, input_shape, outputs)[0]


def trace_origins(
    network: nn.Module, input_shape: Shape, outputs: Sequence[str] = OUTPUT_NAMES
) -> tuple[Graph, dict[str, Origin]]:
    """As ``trace``, and where each convolution comes from, by its name."""
    walk = _Walk(dict(network.named_modules()), input_shape)
    root = copy.copy(network)
    root.training = False  # in training it returns more
    for node in _Tracer().trace(root).nodes:
        walk.visit(node)
    names = dict(zip(walk.returned, outputs, strict=True))
    renamed = tuple(
        replace(
            layer,
            inputs=tuple(names.get(name, name) for name in layer.inputs),
            outputs=tuple(names.get(name, name) for name in layer.outputs),
        )
        for layer in walk.layers
    )
    return Graph(renamed, input_shape, tuple(outputs)), walk.origins


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> Folded:
    """Weight and bias of the one convolution that equals ``norm(conv(x))`` in evaluation.

    Computed in float64 and rounded once, so that folding costs no accuracy. Without the rings of
    the kernel that are empty: the padding is smaller by as many cells.
    """
    weight = _array(conv.weight)
    bias = np.zeros(len(weight)) if conv.bias is None else _array(conv.bias)
    if norm is not None:
        factor = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
        weight = weight * factor[:, None, None, None]
        bias = _array(norm.bias) + (bias - _array(norm.running_mean)) * factor
    if not isinstance(conv.padding, str):
        weight = without_rings(weight, min(empty_rings(weight), *conv.padding))
    return weight.astype(np.float32, order="C"), bias.astype(np.float32)


def _array(tensor: torch.Tensor | None) -> NDArray[np.float64]:
    assert tensor is not None, "batch norm has weights and running statistics"
    values: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return values


class _Tracer(fx.Tracer):
    """Records the layers of ``model.layers`` as one call instead of looking into them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = (ConvNorm, SharedConvNorm, layers.ResizeTo, layers.Ungroup)
        return isinstance(m, known) or super().is_leaf_module(m, module_qualified_name)


class _Walk:
    """Visits the recorded calls in order and collects layers; tensors are called as layers."""

    def __init__(self, modules: dict[str, nn.Module], input_shape: Shape) -> None:
        self.modules = modules
        self.layers: list[Layer] = []
        self.shapes: dict[str, Shape] = {INPUT_NAME: input_shape}
        self.folded: dict[Origin, Folded] = {}
        self.origins: dict[str, Origin] = {}
        self.values: dict[fx.Node, Any] = {}
        self.names: set[str] = set()
        self.returned: tuple[str, ...] = ()
        self.functions: dict[Any, Callable[..., Any]] = {
            operator.add: lambda scope, a, b: self.emit(Add, f"{scope}.add", a, b),
            operator.getitem: lambda scope, values, index: values[index],
            torch.cat: lambda scope, tensors, dim: self.emit(
                Concat, f"{scope}.concat", *tensors, axis=dim - 1
            ),
            "chunk": self.chunk,
            "flatten": self.flatten,
            "transpose": self.transpose,
        }

    def visit(self, node: fx.Node) -> None:
        args: Any
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        if node.op == "placeholder":
            self.values[node] = INPUT_NAME
        elif node.op == "output":
            self.returned = tuple(output for output in args[0] if output is not None)
        elif node.op == "call_module":
            self.values[node] = self.module(str(node.target), *args)
        elif isinstance(node.target, type) and issubclass(node.target, tuple):
            self.values[node] = node.target(*args, **kwargs)  # the NamedTuple of the outputs
        else:
            scope = _scope(node)
            if node.target not in self.functions:
                raise ModelError(f"the exporters do not know '{node.target}' in {scope}")
            self.values[node] = self.functions[node.target](scope, *args, **kwargs)

    def emit(self, kind: Callable[..., Layer], name: str, *inputs: str, **fields: Any) -> str:
        """Add a layer with one output; its name is numbered where a module runs twice."""
        name = self.unique(name)
        self.add(kind(name=name, inputs=inputs, outputs=(name,), **fields))
        return name

    def add(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.shapes.update(infer(layer, self.shapes))

    def unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self.names:
            count += 1
            candidate = f"{name}_{count}"
        self.names.add(candidate)
        return candidate

    def module(self, path: str, source: str, *others: Any) -> str:
        match self.modules[path]:
            case ConvNorm(conv=conv, norm=norm, act=act, same=same):
                return self.conv(path, source, Origin(conv, norm), act, same)
            case SharedConvNorm(conv=conv, norms=norms, act=act):
                (level,) = others
                return self.conv(path, source, Origin(conv, norms[level]), act)
            case nn.Conv2d() as conv:
                return self.conv(path, source, Origin(conv, None))
            case layers.ResizeTo():
                return self.resize(path, source, *others)
            case layers.Ungroup(values=values):
                return self.emit(Ungroup, path, source, values=values)
            case nn.MaxPool2d(
                kernel_size=int(kernel),
                stride=int(stride),
                padding=int(padding),
                dilation=1,
                ceil_mode=False,
            ):
                return self.emit(
                    MaxPool, path, source, kernel=kernel, stride=stride, padding=padding
                )
            case nn.ChannelShuffle(groups=groups):
                return self.emit(Shuffle, path, source, groups=groups)
            case nn.Upsample(
                mode="bilinear" | "nearest" as mode, scale_factor=float(scale), align_corners=flag
            ) if scale.is_integer() and not flag:
                return self.emit(Resize, path, source, mode=mode, scale=int(scale))
            case other:
                raise ModelError(f"the exporters do not know {other} at '{path}'")

    def conv(
        self,
        path: str,
        source: str,
        origin: Origin,
        act: nn.Module | None = None,
        same: bool = False,
    ) -> str:
        conv = origin.conv
        stride, padding = conv.stride, conv.padding
        if (
            conv.dilation != (1, 1)
            or conv.padding_mode != "zeros"
            or stride[0] != stride[1]
            or isinstance(padding, str)
        ):
            raise ModelError(f"the exporters do not know {conv} at '{path}'")
        # Folded once: a writer can then store once what several levels share.
        if origin not in self.folded:
            self.folded[origin] = fold(conv, origin.norm)
        weight, bias = self.folded[origin]
        rings = (conv.kernel_size[0] - weight.shape[2]) // 2
        vertical, horizontal = (side - rings for side in padding)
        pads = Pads(horizontal, horizontal, vertical, vertical)
        if same:
            height, width = self.shapes[source][1:]
            pads = Pads(width % 2, 1, height % 2, 1)
        name = self.emit(
            Conv,
            path,
            source,
            weight=weight,
            bias=bias,
            stride=stride[0],
            pads=pads,
            groups=conv.groups,
            activation=_activation(path, act),
        )
        self.origins[name] = origin
        return name

    def resize(self, path: str, source: str, like: str) -> str:
        old, size = self.shapes[source][1:], self.shapes[like][1:]
        scale = size[0] // old[0]
        if size == tuple(side * scale for side in old):
            return self.emit(Resize, path, source, mode="bilinear", scale=scale)
        return self.emit(ResizeTo, path, source, size=size)

    def chunk(self, scope: str, source: str, chunks: int, dim: int = 0) -> tuple[str, ...]:
        if dim != 1:
            raise ModelError(f"the exporters split channels only, not dimension {dim} in {scope}")
        name = self.unique(f"{scope}.split")
        outputs = tuple(f"{name}.{part}" for part in range(chunks))
        self.add(Split(name=name, inputs=(source,), outputs=outputs))
        return outputs

    def flatten(self, scope: str, source: str, start_dim: int = 0) -> str:
        if start_dim != 2:
            raise ModelError(f"the exporters flatten from dimension 2 only, see {scope}")
        return self.emit(Flatten, f"{scope}.flatten", source)

    def transpose(self, scope: str, source: str, first: int, second: int) -> str:
        if {first, second} != {1, 2}:
            raise ModelError(f"the exporters swap dimensions 1 and 2 only, see {scope}")
        return self.emit(Transpose, f"{scope}.transpose", source)


def _scope(node: fx.Node) -> str:
    """Path of the module whose ``forward`` made this call."""
    stack = node.meta.get("nn_module_stack")
    return next(reversed(stack.values()))[0] if stack else "network"


def _activation(path: str, module: nn.Module | None) -> Activation | None:
    match module:
        case None:
            return None
        case nn.ReLU6():
            return Activation("relu6")
        case nn.ReLU():
            return Activation("relu")
        case nn.LeakyReLU(negative_slope=slope):
            return Activation("leaky_relu", slope)
        case _:
            raise ModelError(f"the exporters do not know {module} at '{path}'")
