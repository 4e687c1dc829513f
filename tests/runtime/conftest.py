import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mobileyolact.contract import ClassInfo, ModelContract, OutputInfo
from mobileyolact.runtime.backends.base import RawOutputs
from mobileyolact.runtime.decode import level_shapes

NAMES = ("person", "dog", "bicycle")
PROTOTYPES = 2

MakeContract = Callable[..., ModelContract]


@pytest.fixture(scope="session")
def make_contract() -> MakeContract:
    """A small contract whose output shapes follow from its other fields."""

    def make(**fields: Any) -> ModelContract:
        values: dict[str, Any] = {
            "name": "tiny",
            "input_size": (32, 64),
            "strides": (8, 16),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "classes": tuple(ClassInfo(i, name, 10 + i) for i, name in enumerate(NAMES)),
            "coefficient_activation": "none",
            **fields,
        }
        outputs = tuple(OutputInfo(name, (), "float32", "") for name in RawOutputs._fields)
        contract = ModelContract(outputs=outputs, **values)
        cells = sum(rows * columns for rows, columns in level_shapes(contract))
        sides = 4 if contract.box_coding == "ltrb" else 4 * (contract.reg_max + 1)
        height, width = (side // contract.prototype_stride for side in contract.input_size)
        shapes = (
            (1, cells, len(contract.classes)),
            (1, cells, sides),
            (1, cells, PROTOTYPES),
            (1, PROTOTYPES, height, width),
        )
        return dataclasses.replace(
            contract,
            outputs=tuple(
                dataclasses.replace(info, shape=shape)
                for info, shape in zip(outputs, shapes, strict=True)
            ),
        )

    return make


@pytest.fixture(scope="session")
def silent() -> Callable[[ModelContract], RawOutputs]:
    """Outputs in which nothing is detected, of the contract's shapes, to write into."""

    def make(contract: ModelContract) -> RawOutputs:
        scores, *others = (np.zeros(info.shape, dtype=np.float32) for info in contract.outputs)
        return RawOutputs(scores - np.float32(10), *others)

    return make
