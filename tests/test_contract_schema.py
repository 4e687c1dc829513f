"""docs/contract.schema.json, docs/contract.md and ModelContract say the same."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import onnxruntime
import pytest

from mobileyolact import zoo
from mobileyolact.contract import (
    _CHOICES,
    FORMAT_VERSION,
    OPTIONAL,
    OUTPUT_NAMES,
    ClassInfo,
    ModelContract,
    OutputInfo,
    Quantization,
)
from mobileyolact.errors import ContractError

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = json.loads((DOCS / "contract.schema.json").read_text(encoding="utf-8"))
FIELDS = {field.name for field in dataclasses.fields(ModelContract)}
ANCHORS = {
    "box_coding": "anchor",
    "anchor_scales": (24, 48.5),
    "anchor_ratios": (1, 0.5, 2),
    "score_activation": "softmax",
}
MakeContract = Callable[..., ModelContract]


def as_json(contract: ModelContract) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(contract.to_json())
    return value


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_lists_the_fields_of_the_dataclass() -> None:
    assert set(SCHEMA["properties"]) == FIELDS
    assert set(SCHEMA["required"]) == FIELDS - set(OPTIONAL)
    assert SCHEMA["properties"]["format_version"]["const"] == FORMAT_VERSION
    item = SCHEMA["properties"]["classes"]["items"]
    assert set(item["properties"]) == {field.name for field in dataclasses.fields(ClassInfo)}
    output = SCHEMA["$defs"]["output"]
    assert set(output["properties"]) == {field.name for field in dataclasses.fields(OutputInfo)}
    quantization = SCHEMA["properties"]["quantization"]["anyOf"][1]
    fields = {field.name for field in dataclasses.fields(Quantization)}
    assert set(quantization["properties"]) == fields


@pytest.mark.parametrize("field", sorted(_CHOICES))
def test_the_schema_allows_the_same_choices(field: str) -> None:
    entry = SCHEMA["properties"][field]
    allowed = entry.get("enum", [entry.get("const")])
    assert set(allowed) == set(_CHOICES[field])


def test_the_page_explains_every_field() -> None:
    page = (DOCS / "contract.md").read_text(encoding="utf-8")
    in_tables = {
        name
        for line in page.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert in_tables - set(OUTPUT_NAMES) == FIELDS - {"outputs"}
    assert "`outputs` lists" in page


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resize": "letterbox", "box_coding": "ltrb", "nms": "fast"},
        {"quantization": Quantization("full", "ptq"), "provenance": {"ap": {"mask": 0.2}}},
        ANCHORS,
        {"position_coefficients": 8},
    ],
)
def test_a_contract_is_valid_and_survives_the_round_trip(
    make_contract: MakeContract, changes: dict[str, Any]
) -> None:
    contract = make_contract(**changes)
    jsonschema.validate(as_json(contract), SCHEMA)
    assert ModelContract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize("field", sorted(FIELDS - set(OPTIONAL)))
def test_the_schema_refuses_a_contract_without_a_field(
    make_contract: MakeContract, field: str
) -> None:
    value = as_json(make_contract())
    del value[field]
    with pytest.raises(jsonschema.ValidationError, match=field):
        jsonschema.validate(value, SCHEMA)


@pytest.mark.parametrize("field", ["anchor_scales", "anchor_ratios"])
def test_anchors_are_told_where_there_are_anchors_and_only_there(
    make_contract: MakeContract, field: str
) -> None:
    without, value = as_json(make_contract()), as_json(make_contract(**ANCHORS))
    assert field not in without
    without[field] = value.pop(field)
    for wrong in (without, value):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)
        with pytest.raises(ContractError, match="anchor_scales"):
            ModelContract.from_json(json.dumps(wrong))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("colour_order",), "hsv"),
        (("std",), [0, 1, 1]),
        (("input_size",), [416]),
        (("mask_threshold",), 1.5),
        (("outputs", 0, "name"), "logits"),
        (("outputs", 3, "shape"), [1, 8, 16]),
        (("classes", 0, "id"), 3),
        (("colour",), "rgb"),
    ],
)
def test_the_schema_refuses_wrong_values(
    make_contract: MakeContract, path: tuple[Any, ...], wrong: Any
) -> None:
    value = as_json(make_contract())
    place = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMA)


@pytest.mark.parametrize("model", zoo.list_models(), ids=lambda model: model.name)
def test_embedded_models_carry_a_valid_contract(model: zoo.ZooModel) -> None:
    if not zoo.ASSETS.is_dir() or not any(zoo.ASSETS.rglob("*.*")):
        pytest.skip("no weights are embedded yet")
    session = onnxruntime.InferenceSession(model.path("onnx"))
    texts = [session.get_modelmeta().custom_metadata_map["mobileyolact.contract"]]
    if "ncnn" in model.embedded:
        texts.append(model.files("ncnn")[-1].read_text(encoding="utf-8"))
    for text in texts:
        jsonschema.validate(json.loads(text), SCHEMA)
    assert len({ModelContract.from_json(text).to_json() for text in texts}) == 1


@pytest.mark.parametrize("count", [0, 4, -8, "8", [8]])
def test_position_coefficients_are_eight_or_left_out(
    make_contract: MakeContract, count: object
) -> None:
    value = as_json(make_contract())
    assert "position_coefficients" not in value
    value["position_coefficients"] = count
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMA)
    if count:
        with pytest.raises(ContractError, match="position_coefficients"):
            ModelContract.from_json(json.dumps(value))
