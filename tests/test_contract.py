"""A contract that contradicts itself is refused, whoever wrote it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from mobileyolact.contract import ModelContract
from mobileyolact.errors import ContractError

MakeContract = Callable[..., ModelContract]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (32, 72)}, r"'scores' has shape \(1, 40, 3\).*must be \(1, 46, 3\)"),
        ({"strides": (8, 16, 32)}, r"'scores' has shape \(1, 40, 3\).*must be \(1, 42, 3\)"),
        ({"classes": ()}, r"'scores' .*must be \(1, 40, 0\)"),
        ({"reg_max": 15}, r"'boxes' has shape \(1, 40, 32\).*must be \(1, 40, 64\)"),
        ({"box_coding": "ltrb"}, r"'boxes' .*must be \(1, 40, 4\)"),
        ({"prototype_stride": 8}, r"'prototypes' .*must be \(1, 2, 4, 8\)"),
        ({"resize": "crop"}, r"resize='crop'.*'stretch', 'letterbox'"),
    ],
)
def test_fields_that_contradict_the_outputs(
    make_contract: MakeContract, changes: dict[str, Any], message: str
) -> None:
    contract = make_contract()
    with pytest.raises(ContractError, match=f"model 'tiny' .*{message}.*again"):
        dataclasses.replace(contract, **changes)
    content = json.loads(contract.to_json()) | json.loads(json.dumps(changes))
    with pytest.raises(ContractError, match=message):
        ModelContract.from_json(json.dumps(content))


@pytest.mark.parametrize("shape", [(1, 4, 8, 16), (1, 2, 8), (), "wide"])
def test_prototypes_that_do_not_fit_the_coefficients(
    make_contract: MakeContract, shape: Any
) -> None:
    contract = make_contract()
    prototypes = dataclasses.replace(contract.outputs[3], shape=shape)
    with pytest.raises(ContractError, match=r"'(coefficients|prototypes)' has shape"):
        dataclasses.replace(contract, outputs=(*contract.outputs[:3], prototypes))


@pytest.mark.parametrize(
    "changes",
    [{"strides": [0]}, {"strides": ["8"]}, {"input_size": [64]}, {"prototype_stride": 0}],
)
def test_nonsense_in_a_file_is_one_clear_error(
    make_contract: MakeContract, changes: dict[str, Any]
) -> None:
    content = json.loads(make_contract().to_json()) | changes
    with pytest.raises(ContractError, match=r"the contract in a\.onnx is incomplete or damaged"):
        ModelContract.from_json(json.dumps(content), "a.onnx")


def test_the_same_network_at_another_size(make_contract: MakeContract) -> None:
    contract = make_contract(name="a", prototypes=5)
    wide = contract.at_size((64, 72))
    assert wide == make_contract(name="a", prototypes=5, input_size=(64, 72))
    assert wide.at_size(contract.input_size) == contract
