from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mobileyolact.benchmark.placing import SIDES
from mobileyolact.benchmark.synthetic import options_for, synthetic_outputs
from mobileyolact.contract import ClassInfo, ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.runtime.candidates import logit
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.postprocess import postprocess
from mobileyolact.runtime.preprocess import preprocess

MakeContract = Callable[..., ModelContract]
CODINGS: dict[str, dict[str, Any]] = {
    "dfl": {},
    "ltrb": {"box_coding": "ltrb", "reg_max": 0, "centre_offset": 0.5, "resize": "letterbox"},
    "anchor": {
        "box_coding": "anchor",
        "anchor_scales": (24.0, 48.0, 96.0),
        "anchor_ratios": (1.0, 0.5, 2.0),
        "score_activation": "softmax",
        "nms": "fast",
        "coefficient_activation": "tanh",
        "prototype_activation": "relu",
    },
}


@pytest.fixture
def contract(make_contract: MakeContract, request: pytest.FixtureRequest) -> ModelContract:
    fields = {"input_size": (256, 320), "strides": (8, 16, 32), **CODINGS[request.param]}
    return make_contract(8, **fields)


def instances_of(contract: ModelContract, count: int) -> tuple[Instances, int]:
    """The instances that are made of synthetic outputs, and how many scores passed before."""
    _, placement = preprocess(np.zeros((360, 640, 3), np.uint8), contract)
    options = options_for(contract, count)
    raw = synthetic_outputs(contract, placement, options, count)
    passed = int((raw.scores[0] >= logit(options.score_threshold)).any(axis=1).sum())
    return postprocess(raw, contract, placement, options), passed


@pytest.mark.parametrize("count", [0, 1, 10, 120])
@pytest.mark.parametrize("contract", CODINGS, indirect=True)
def test_exactly_so_many_instances(contract: ModelContract, count: int) -> None:
    instances, _ = instances_of(contract, count)
    assert len(instances) == count
    shares = (instances.boxes[:, 2:] - instances.boxes[:, :2]) / (640, 360)
    assert ((shares > SIDES[0] - 0.001) & (shares < SIDES[1] + 0.001)).all()
    assert (instances.areas > 0).all()
    assert len(set(instances.class_indices.tolist())) == min(count, 3)


@pytest.mark.parametrize("contract", ["dfl", "ltrb"], indirect=True)
def test_suppression_has_to_choose_and_masks_are_no_boxes(contract: ModelContract) -> None:
    instances, passed = instances_of(contract, 20)
    assert passed > 100
    boxes = (instances.boxes[:, 2:] - instances.boxes[:, :2]).prod(axis=1)
    filled = instances.areas / boxes
    assert 0.3 < filled.mean() < 0.95


@pytest.mark.parametrize("contract", ["dfl"], indirect=True)
def test_the_same_every_time(contract: ModelContract) -> None:
    first, again = (instances_of(contract, 5)[0] for _ in range(2))
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.dense(), again.dense())


def test_more_than_a_model_can_tell_apart(make_contract: MakeContract) -> None:
    with pytest.raises(OptionError, match=r"100 instances do not fit .* 'tiny'; ask for fewer"):
        instances_of(make_contract(input_size=(64, 64)), 100)


def test_thresholds_that_let_everything_pass(make_contract: MakeContract) -> None:
    classes = (ClassInfo(0, "dog", 1),)
    contract = make_contract(input_size=(64, 64), classes=classes, score_threshold=0.0)
    with pytest.raises(OptionError, match="would show .* instead of 3"):
        instances_of(contract, 3)
