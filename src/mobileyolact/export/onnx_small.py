"""Writer of small ONNX files: kernels stored in 8 bits, float arithmetic."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mobileyolact.contract import ModelContract
from mobileyolact.export.formats import small_exporter
from mobileyolact.export.graph import Graph
from mobileyolact.export.half import stored
from mobileyolact.export.onnx import OnnxWriter
from mobileyolact.export.quantized import QuantizedConv, quantize_kernel


class SmallWriter(OnnxWriter):
    """Kernels as int8 codes and a step for each output channel."""

    def store(self, name: str, value: NDArray[np.float32]) -> None:
        if stored(value).dtype == np.float32:
            super().store(name, value)
        else:
            self.store_kernel(name, quantize_kernel(value))

    def store_kernel(self, name: str, kernel: QuantizedConv) -> None:
        """Write ``kernel``, to be read as the float32 tensor ``name``."""
        steps = kernel.steps.reshape(-1, *[1] * (kernel.weight.ndim - 1))
        codes = self.constant(f"{name}.codes", kernel.weight)
        self.node("Cast", (codes,), (f"{name}.float",), to=TensorProto.FLOAT)
        self.node("Mul", (f"{name}.float", self.constant(f"{name}.steps", steps)), (name,))


@small_exporter("onnx", ".small.onnx")
def write_onnx_small(graph: Graph, contract: ModelContract, path: Path) -> None:
    """Write ``graph`` as one ONNX file with kernels of 8 bits, computed in float32.

    A kernel is the product of int8 codes and a float32 step for each output channel, which the
    engine computes once, when it loads the model. It is a Cast and a Mul and not one
    DequantizeLinear because ONNX Runtime does the latter again for every picture, at twice the
    time, unless it is told otherwise. What ``half.stored`` leaves in float32 is float32 here too.
    The same graph and contract give the same bytes.
    """
    SmallWriter(graph).write(contract, path)
