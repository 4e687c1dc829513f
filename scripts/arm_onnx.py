"""The codes of an int8 ONNX file on Arm, held layer by layer against ONNX Runtime here.

What is computed in float, such as the first convolution, has the last bits of its processor. A
value in the middle between two codes may then become either, and everything behind it differs. So
each layer is computed here again from the very codes that Arm read, of which Arm's must follow.

Of what is computed with integers, sums alone differ: on Arm they are whole numbers of 32 bits (in
``onnxruntime/core/mlas/lib/qladd.cpp``), while x86 adds floats.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from arm_inside import Arrays
from onnx import TensorProto, helper, numpy_helper

from mobileyolact.export.onnx_int8 import codes_name
from mobileyolact.export.quantized import Codes
from mobileyolact.quantize.engines.onnx import emulate_sum_on_arm

# In codes: how near to the middle between two a float value must be to become either.
TIE = 0.01


@dataclass(frozen=True)
class Agreement:
    """How many codes or values were compared, and how many of them are of each kind."""

    compared: int
    ties: int  # not ours, but as right
    wrong: int


@dataclass(frozen=True)
class Rounding:
    """Codes that are rounded from the float tensor ``source`` of a layer computed in float."""

    source: str
    codes: Codes


@dataclass(frozen=True)
class Sum:
    """Codes that are the sum of the codes of two other tensors, ``names``."""

    names: tuple[str, str]
    sources: tuple[Codes, Codes]
    target: Codes


class CodedModel:
    """An int8 file; ``codes`` are the names of its tensors of codes, none in a float file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        model = onnx.load(path)
        self.made = {name: node for node in model.graph.node for name in node.output}
        self.codes = [name for name in self.made if name.endswith(codes_name(""))]
        self.scalars = {
            x.name: numpy_helper.to_array(x).item() for x in model.graph.initializer if not x.dims
        }
        self.roundings: dict[str, Rounding] = {}
        self.sums: dict[str, Sum] = {}
        for name in self.codes:
            node = self.made[name]
            if node.op_type == "Clip":
                node = self.made[node.input[0]]
            if node.op_type != "QuantizeLinear":
                continue  # moved only
            source, codes = node.input[0], self._codes(node)
            if not self._is_integer(source):
                self.roundings[name] = Rounding(source, codes)
            elif self.made[source].op_type == "Add":
                first, second = (self.made[name] for name in self.made[source].input)
                sources = self._codes(first), self._codes(second)
                self.sums[name] = Sum((first.input[0], second.input[0]), sources, codes)

    def write_open(self, path: Path) -> None:
        """The same file with all codes among its outputs."""
        model = onnx.load(self.path)
        model.graph.output.extend(_info(name, TensorProto.UINT8) for name in self.codes)
        onnx.save(model, path)

    def write_cut(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """The same file cut at all codes: each layer reads those that it is given.

        Inputs are named as the codes with ``.given`` behind; float tensors that are rounded to
        codes are among the outputs, too.
        """
        model = onnx.load(self.path)
        for node in model.graph.node:
            node.input[:] = [given(x) if x in self.codes else x for x in node.input]
        for name in self.codes:
            shape = arrays[name].shape
            model.graph.input.append(_info(given(name), TensorProto.UINT8, shape))
            model.graph.output.append(_info(name, TensorProto.UINT8))
        sources = {rounding.source for rounding in self.roundings.values()}
        model.graph.output.extend(_info(name, TensorProto.FLOAT) for name in sorted(sources))
        onnx.save(model, path)

    @property
    def cut_outputs(self) -> list[str]:
        """What ``compare`` needs of the cut file."""
        return [*self.codes, *sorted({x.source for x in self.roundings.values()})]

    def compare(self, arm: Arrays, here: Arrays) -> Agreement:
        """Codes of Arm with those that the cut file gives here.

        They must be equal. But sums must be those of ``emulate_sum_on_arm``, and each code that is
        rounded from floats must lie within half a code of the float value, and ``TIE``.
        """
        ties = wrong = 0
        for name in self.codes:
            differing = arm[name] != here[name]
            bad = differing
            if name in self.roundings:
                source, codes = self.roundings[name].source, self.roundings[name].codes
                value = here[source] / codes.step + codes.zero_point
                bad = differing & (np.abs(value - arm[name]) > 0.5 + TIE)
            elif name in self.sums:
                bad = arm[name] != add(self.sums[name], arm)
            ties += int(np.count_nonzero(differing & ~bad))
            wrong += int(np.count_nonzero(bad))
        return Agreement(sum(arm[name].size for name in self.codes), ties, wrong)

    def _codes(self, node: onnx.NodeProto) -> Codes:
        """Of a QuantizeLinear or DequantizeLinear."""
        return Codes(self.scalars[node.input[1]], -self.scalars[node.input[2]])

    def _is_integer(self, tensor: str) -> bool:
        """Whether ONNX Runtime computes it from bytes alone, as QLinearConv and the like."""
        node = self.made[tensor]
        return node.op_type in ("Conv", "Add", "LeakyRelu") and all(
            name in self.made and self.made[name].op_type == "DequantizeLinear"
            for name in node.input
        )


def add(added: Sum, arm: Arrays) -> np.ndarray:
    """The bytes of a sum on Arm, of those in ``arm``."""
    first, second = (
        arm[name] - np.int16(codes.zero_point)
        for name, codes in zip(added.names, added.sources, strict=True)
    )
    total = emulate_sum_on_arm(added.sources, added.target, (first, second))
    bytes_: np.ndarray = (total + np.int16(added.target.zero_point)).astype(np.uint8)
    return bytes_


def given(name: str) -> str:
    return f"{name}.given"


def _info(name: str, kind: int, shape: tuple[int, ...] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
