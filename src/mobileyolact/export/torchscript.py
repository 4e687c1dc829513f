"""Writer of TorchScript files, which plain PyTorch or libtorch loads without this package."""

import io
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from mobileyolact.contract import ModelContract
from mobileyolact.export.formats import exporter
from mobileyolact.export.graph import INPUT_NAME, Conv, Graph, Layer
from mobileyolact.export.half import stored
from mobileyolact.export.quantized import QuantizedConv
from mobileyolact.export.torch_layers import activate, compute, convolve
from mobileyolact.files import write_beside
from mobileyolact.runtime.backends.torchscript import EXTRA_FILE, without_deprecation


class FloatConvolution(nn.Module):
    """A convolution computed in float32, its kernel stored as ``half.stored`` says.

    Or as ``kernel``: int8 codes and a step for each output channel.
    """

    weight: Tensor
    steps: Tensor | None
    bias: Tensor

    def __init__(self, layer: Conv, kernel: QuantizedConv | None = None) -> None:
        super().__init__()
        weight, steps = torch.from_numpy(stored(layer.weight).copy()), None
        if kernel is not None:
            weight = torch.from_numpy(kernel.weight)
            steps = torch.from_numpy(kernel.steps).view(-1, 1, 1, 1)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("steps", steps)
        self.register_buffer("bias", torch.from_numpy(layer.bias.copy()))
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        # A cast to a fixed type would be computed when the module is frozen, and its result
        # stored instead of the half. What depends on the input is left for the call.
        weight = self.weight.type_as(x)
        if self.steps is not None:
            weight = weight * self.steps
        x = convolve(self.layer, x, weight, self.bias)
        activation = self.layer.activation
        return x if activation is None else activate(x, activation, inplace=True)


class GraphNetwork(nn.Module):
    """Runs a graph: (1, 3, H, W) float32 to its outputs, each with a batch dimension of 1."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.layers = graph.layers
        self.outputs = graph.outputs
        self.convolutions = nn.ModuleDict(
            {str(i): self.convolution(x) for i, x in enumerate(graph.layers) if isinstance(x, Conv)}
        )

    def convolution(self, layer: Conv) -> nn.Module:
        """What computes ``layer``."""
        return FloatConvolution(layer)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        tensors = {INPUT_NAME: image.contiguous(memory_format=torch.channels_last)}
        for index, layer in enumerate(self.layers):
            outputs = self.outputs_of(index, layer, [tensors[name] for name in layer.inputs])
            tensors.update(zip(layer.outputs, outputs, strict=True))
        return tuple(self.output(tensors[name]) for name in self.outputs)

    def output(self, x: Tensor) -> Tensor:
        """A tensor as it is given back."""
        return x.contiguous()

    def outputs_of(self, index: int, layer: Layer, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of ``layer``, which is the one at ``index``."""
        if isinstance(layer, Conv):
            return (self.convolutions[str(index)](*inputs),)
        return compute(layer, inputs)


@exporter("torchscript", ".torchscript")
def write_torchscript(graph: Graph, contract: ModelContract, path: Path) -> None:
    """Write ``graph`` as one TorchScript file with ``contract`` as its extra file.

    The module maps ``image`` (1, 3, H, W) float32 to a tuple of ``graph.outputs`` in their order,
    contiguous, each with a leading batch dimension of 1. It is traced and frozen, and computes
    with channels last. Kernels are stored as float16 and computed in float32.
    The same graph and contract give the same bytes.
    """
    write_traced(GraphNetwork(graph), graph, contract, path)


def write_traced(
    network: nn.Module, graph: Graph, contract: ModelContract, path: Path, deflate: bool = False
) -> None:
    """Trace, freeze and write a module that computes ``graph``; see ``write_torchscript``.

    Args:
        network: maps an image (1, 3, H, W) float32 to a tuple of tensors.
        graph: gives the size of the image.
        contract: becomes the extra file.
        path: the file.
        deflate: compress every part of the archive.
    """
    image = torch.zeros(1, *graph.input_shape)
    buffer = io.BytesIO()
    with torch.no_grad(), without_deprecation():
        traced = torch.jit.trace(network.eval(), (image,), check_trace=False)
        frozen = torch.jit.freeze(traced)
        torch.jit.save(frozen, buffer, _extra_files={EXTRA_FILE: contract.to_json()})
    with write_beside(path) as temporary:
        temporary.write_bytes(_tidy(buffer.getvalue(), deflate))


def _tidy(archive: bytes, deflate: bool) -> bytes:
    """The archive without what the process that wrote it left there.

    That is the stack of every call with its paths (for debugging), a number that counts the
    traces of the process in the name of the class, and a hash of these.
    """
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        for entry in source.infolist():
            if entry.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                continue
            data = source.read(entry)
            if entry.filename.endswith((".py", "/data.pkl")):
                data = re.sub(rb"\.___torch_mangle_\d+", b"", data)
            name = re.sub(r"/___torch_mangle_\d+", "", entry.filename)
            method = zipfile.ZIP_DEFLATED if deflate else entry.compress_type
            target.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()
