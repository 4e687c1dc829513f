"""The codes of an int8 ONNX file on Arm, held layer by layer against ONNX Runtime here.

What is computed in float, such as the first convolution, has the last bits of its processor. A
value in the middle between two codes may then become either, and everything behind it differs. So
each layer is computed here again from the very codes that Arm read, of which Arm's must follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from arm_inside import Arrays
from onnx import TensorProto, helper, numpy_helper

from mobileyolact.export.onnx_int8 import codes_name

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
    step: float
    zero_point: int


class CodedModel:
    """An int8 file; ``codes`` are the names of its tensors of codes, none in a float file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        model = onnx.load(path)
        self.made = {name: node for node in model.graph.node for name in node.output}
        self.codes = [name for name in self.made if name.endswith(codes_name(""))]
        scalars = {x.name: x for x in model.graph.initializer if not x.dims}
        self.roundings = {}
        for name in self.codes:
            node = self.made[name]
            if node.op_type == "Clip":
                node = self.made[node.input[0]]
            if node.op_type != "QuantizeLinear" or self._is_integer(node.input[0]):
                continue  # moved, or computed with integers
            step, zero = (numpy_helper.to_array(scalars[name]).item() for name in node.input[1:])
            self.roundings[name] = Rounding(node.input[0], step, zero)

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

        They must be equal, but for those that are rounded from floats: each of them must lie
        within half a code of the float value, and ``TIE``.
        """
        ties = wrong = 0
        for name in self.codes:
            differing = arm[name] != here[name]
            rounding = self.roundings.get(name)
            if rounding is not None:
                value = here[rounding.source] / rounding.step + rounding.zero_point
                near = differing & (np.abs(value - arm[name]) <= 0.5 + TIE)
                ties += int(np.count_nonzero(near))
                differing &= ~near
            wrong += int(np.count_nonzero(differing))
        return Agreement(sum(arm[name].size for name in self.codes), ties, wrong)

    def _is_integer(self, tensor: str) -> bool:
        """Whether ONNX Runtime computes it from bytes alone, as QLinearConv and the like."""
        node = self.made[tensor]
        return node.op_type in ("Conv", "Add", "LeakyRelu") and all(
            name in self.made and self.made[name].op_type == "DequantizeLinear"
            for name in node.input
        )


def given(name: str) -> str:
    return f"{name}.given"


def _info(name: str, kind: int, shape: tuple[int, ...] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
