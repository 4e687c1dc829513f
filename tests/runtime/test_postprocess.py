import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileyolact.contract import level_shapes
from mobileyolact.errors import OptionError
from mobileyolact.runtime.decode import decode_boxes
from mobileyolact.runtime.postprocess import PostprocessOptions, postprocess
from mobileyolact.runtime.preprocess import Placement

SAME_SIZE = Placement(1.0, 1.0, 0.0, 0.0, 32, 64)


def run(raw, contract, placement=SAME_SIZE, **overrides):
    return postprocess(
        raw, contract, placement, PostprocessOptions.from_contract(contract, **overrides)
    )


def test_cells_of_all_levels_row_by_row(make_contract):
    # 36 x 64 at strides 8 and 32: 5 x 8 cells, then 2 x 2, the last ones only partly covered.
    contract = make_contract(
        input_size=(36, 64), strides=(8, 32), box_coding="ltrb", centre_offset=0.5
    )
    assert level_shapes(contract.input_size, contract.strides) == ((5, 8), (2, 2))
    boxes = decode_boxes(
        np.tile(np.float32([0.5, 1, 1.5, 2]), (4, 1)), np.array([0, 15, 40, 43]), contract
    )
    assert boxes.tolist() == [
        [4 - 4, 4 - 8, 4 + 12, 4 + 16],
        [60 - 4, 12 - 8, 60 + 12, 12 + 16],
        [16 - 16, 16 - 32, 16 + 48, 16 + 64],
        [48 - 16, 48 - 32, 48 + 48, 48 + 64],
    ]
    assert boxes.dtype == np.float32


def test_dfl_is_the_expectation_over_the_bins_of_each_side(make_contract):
    contract = make_contract(reg_max=3)
    bins = np.full((4, 4), -100, dtype=np.float32)
    bins[0, 1] = bins[1, 3] = bins[2, 0] = 100  # certain: 1, 3, 0
    bins[3] = [0, 0, math.log(2), 0]  # 1/5, 1/5, 2/5, 1/5: expectation 8/5
    boxes = decode_boxes(bins.reshape(1, 16), np.array([8 + 3]), contract)
    assert boxes[0] == pytest.approx([24 - 8, 8 - 24, 24 + 0, 8 + 8 * 1.6])


def one_object(make_contract, silent, **fields):
    """A person in cell (row 1, column 3) of stride 8: centre (24, 8), box 20..40 x 4..16."""
    contract = make_contract(box_coding="ltrb", **fields)
    raw = silent(contract)
    raw.scores[0, 11, 0] = 2
    raw.boxes[0, 11] = np.array([4, 4, 16, 8]) / 8
    raw.coefficients[0, 11] = [1, 0]
    raw.prototypes[0, 0] = np.where(np.arange(16) * 4 + 2 < 32, 5, -5)
    return contract, raw


def test_one_object_by_hand(make_contract, silent):
    contract, raw = one_object(make_contract, silent)
    (found,) = run(raw, contract)
    assert found.boxes[0].tolist() == [20, 4, 40, 16]
    assert found.scores[0] == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)
    assert found.class_names == ["person"]
    assert found.original_ids == [10]
    expected = np.zeros((32, 64), dtype=bool)
    expected[4:16, 20:32] = True
    assert np.array_equal(found.dense()[0], expected)


def test_the_picture_may_lie_anywhere_in_the_input(make_contract, silent):
    contract, raw = one_object(make_contract, silent)
    # A picture of 60 x 60 in the middle of the input at half its size, from x = 17 on.
    found = run(raw, contract, Placement(0.5, 0.5, 17.0, 1.0, 60, 60))
    assert found.boxes[0].tolist() == [6, 6, 46, 30]
    expected = np.zeros((60, 60), dtype=bool)
    expected[6:30, 6:30] = True  # the edge at x = 32 of the input is at (32 - 17) / 0.5
    assert np.array_equal(found.dense()[0], expected)


def test_boxes_are_clipped_and_what_has_no_area_or_is_not_finite_is_dropped(make_contract, silent):
    contract = make_contract(box_coding="ltrb")
    raw = silent(contract)
    raw.scores[0, :, 1] = 5
    raw.boxes[0] = [np.nan, 1, 1, 1]
    raw.boxes[0, 0] = [1, 1, 2, 2]  # over the upper left corner
    raw.boxes[0, 1] = [0, 0, 0, 1]  # no width
    raw.boxes[0, 2] = [1, 1, -2, 1]  # turned around
    raw.boxes[0, 3] = [np.inf, 1, np.inf, 1]
    raw.boxes[0, 7] = [-2, 1, 3, 1]  # to the right of the picture
    found = run(raw, contract, nms_threshold=1.0)
    assert found.boxes.tolist() == [[0, 0, 16, 16], [0, 0, 64, 8]]


def test_every_class_of_a_cell_is_a_candidate_and_suppression_is_by_class(make_contract, silent):
    contract, raw = one_object(make_contract, silent)
    raw.scores[0, 11, 2] = 3
    raw.scores[0, 12, 0] = 1
    raw.boxes[0, 12] = np.array([12, 4, 8, 8]) / 8  # the same box from the next cell
    found = run(raw, contract)
    assert found.class_names == ["bicycle", "person"]
    assert len(run(raw, contract, nms_threshold=1.0)) == 3
    assert len(run(raw, contract, max_detections=1)) == 1
    assert len(run(raw, contract, nms="fast")) == 2


@pytest.mark.parametrize("nms", ["exact", "fast"])
def test_what_is_left_of_many_boxes_does_not_hide_the_weaker_ones(make_contract, silent, nms):
    """More than 300 candidates on one object, then another object, weaker than all of them."""
    contract = make_contract(box_coding="ltrb", input_size=(160, 256), strides=(8,))
    raw = silent(contract)
    y, x = np.indices((20, 32)).reshape(2, -1) * 8
    near = np.arange(len(x)) < 330
    left, top, right, bottom = np.where(near[:, None], [0, 0, 120, 150], [180, 20, 240, 100]).T
    raw.boxes[0] = np.stack([x - left, y - top, right - x, bottom - y], axis=1) / 8
    classes = np.where(near, np.arange(len(x)) % 2, 2)  # fast suppression takes 200 of a class
    raw.scores[0, np.arange(331), classes[:331]] = np.linspace(5, 1, 331)
    found = run(raw, contract, Placement(1.0, 1.0, 0.0, 0.0, 160, 256), nms=nms)
    assert found.boxes.tolist() == [[0, 0, 120, 150]] * 2 + [[180, 20, 240, 100]]


def test_equal_logits_stay_in_the_order_of_the_tensor(make_contract, silent):
    contract = make_contract(box_coding="ltrb")
    raw = silent(contract)
    raw.scores[0, :, 1] = 1
    raw.scores[0, 5, 2] = 2
    raw.boxes[0] = 0.25
    found = run(raw, contract, max_candidates=4)
    assert found.class_indices.tolist() == [2, 1, 1, 1]
    assert found.boxes[1:, 0].tolist() == [0, 6, 14]  # cells 0, 1, 2 of the first row


@given(st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_the_prefilter_loses_nothing(make_contract, silent, threshold, seed):
    contract = make_contract(box_coding="ltrb")
    raw = silent(contract)
    raw.scores[:] = np.random.default_rng(seed).normal(size=raw.scores.shape)
    raw.boxes[:] = 0.4
    scores = 1 / (1 + np.exp(-raw.scores.astype(np.float64)))
    found = run(raw, contract, score_threshold=threshold, nms_threshold=1.0)
    expected = np.sort(scores[scores >= threshold])[::-1][:100]
    assert found.scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 40 * 3), (1.0, 0)])
def test_thresholds_at_the_ends(make_contract, silent, threshold, count):
    contract = make_contract(box_coding="ltrb")
    raw = silent(contract)
    raw.boxes[:] = 0.4
    raw.scores[0, 0, 0] = -1000
    found = run(raw, contract, score_threshold=threshold, nms_threshold=1.0, max_detections=999)
    assert len(found) == count
    assert found.to_json() == found.to_coco(1) == [] or count


def test_the_activations_of_the_contract(make_contract, silent):
    contract, raw = one_object(make_contract, silent)
    raw.coefficients[0, 11] = [3, -2]
    raw.prototypes[0, 0], raw.prototypes[0, 1] = 1, -1
    # 3 + 2 = 5 | tanh: 0.995 + 0.964 = 1.959 | relu: 3 - 0 = 3
    for fields, value in (
        ({}, 5.0),
        ({"coefficient_activation": "tanh"}, math.tanh(3) + math.tanh(2)),
        ({"prototype_activation": "relu"}, 3.0),
    ):
        contract = dataclasses.replace(contract, coefficient_activation="none")
        contract = dataclasses.replace(contract, **{"prototype_activation": "none", **fields})
        sigmoid = 1 / (1 + math.exp(-value))
        assert run(raw, contract, mask_threshold=sigmoid - 1e-3).areas.tolist() == [240]
        assert run(raw, contract, mask_threshold=sigmoid + 1e-3).areas.tolist() == [0]


def test_options_come_from_the_contract_and_are_checked(make_contract):
    contract = make_contract(score_threshold=0.45, nms="fast", max_detections=7)
    options = PostprocessOptions.from_contract(contract, mask_threshold=0.35, nms_threshold=None)
    assert options == PostprocessOptions(0.45, "fast", 0.6, 0.35, 7, 1000)
    for wrong, message in (
        ({"score": 0.5}, "nearest one is 'score_threshold'"),
        ({"score_threshold": 1.5}, "from 0 to 1"),
        ({"mask_threshold": math.nan}, "from 0 to 1"),
        ({"max_detections": 0}, "at least 1"),
        ({"nms": "soft"}, "'exact' or 'fast'"),
    ):
        with pytest.raises(OptionError, match=message):
            PostprocessOptions.from_contract(contract, **wrong)
