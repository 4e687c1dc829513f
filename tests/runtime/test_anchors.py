"""Anchors as YOLACT lays them out, and boxes decoded from them, against cases worked by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from mobileyolact.contract import ModelContract
from mobileyolact.runtime.anchors import anchor_boxes
from mobileyolact.runtime.decode import decode_anchors, decode_boxes

MakeContract = Callable[..., ModelContract]


@pytest.fixture
def yolact(make_contract: MakeContract) -> ModelContract:
    """The anchors that YOLACT was published with, at 550 pixels."""
    return make_contract(
        input_size=(550, 550),
        strides=(8, 16, 32, 64, 128),
        box_coding="anchor",
        anchor_scales=(24, 48, 96, 192, 384),
        anchor_ratios=(1, 0.5, 2),
        score_activation="softmax",
    )


def test_the_published_number_of_anchors(yolact: ModelContract) -> None:
    # P3 to P7 of a 550 pixel input have 69, 35, 18, 9 and 5 cells a side.
    boxes = anchor_boxes(yolact)
    assert boxes.dtype == np.float32
    assert len(boxes) == 3 * (69**2 + 35**2 + 18**2 + 9**2 + 5**2) == 19_248
    assert yolact.outputs[0].shape == (1, 19_248, 4)


def test_cells_divide_the_input_evenly_and_ratios_follow_each_other(yolact: ModelContract) -> None:
    boxes = anchor_boxes(yolact)
    step = 550 / 69
    assert boxes[:3, :2].tolist() == pytest.approx(np.full((3, 2), step / 2))
    root = 2**0.5
    assert boxes[0, 2:].tolist() == [24, 24]
    assert boxes[1, 2:].tolist() == pytest.approx([24 / root, 24 * root])  # upright
    assert boxes[2, 2:].tolist() == pytest.approx([24 * root, 24 / root])  # lying
    # The next cell is to the right, after a row the one below the first.
    assert boxes[3, :2].tolist() == pytest.approx([1.5 * step, 0.5 * step])
    assert boxes[3 * 69, :2].tolist() == pytest.approx([0.5 * step, 1.5 * step])
    # The second level begins after the first; the last cell is the last of P7.
    assert boxes[3 * 69**2].tolist() == pytest.approx([550 / 70, 550 / 70, 48, 48])
    assert boxes[-3].tolist() == pytest.approx([495, 495, 384, 384])


def test_sides_of_an_input_that_is_not_square(make_contract: MakeContract) -> None:
    contract = make_contract(
        input_size=(32, 60),
        strides=(16,),
        box_coding="anchor",
        anchor_scales=(20,),
        anchor_ratios=(4,),
    )
    expected = [[x, y, 40, 10] for y in (8, 24) for x in (7.5, 22.5, 37.5, 52.5)]
    assert anchor_boxes(contract).tolist() == expected


def test_offsets_move_and_stretch_an_anchor() -> None:
    anchors = np.array([[100, 50, 40, 20]] * 4, np.float32)
    offsets = np.array(
        [
            [0, 0, 0, 0],
            [5, -10, 0, 0],  # by 0.1 * 5 widths to the right, by 0.1 * 10 heights up
            [0, 0, 5 * np.log(2), 5 * np.log(0.5)],  # exp(0.2 * x)
            [10, 0, 5 * np.log(3), 0],  # the step to the right is in widths of the anchor
        ],
        np.float32,
    )
    expected = [[80, 40, 120, 60], [100, 20, 140, 40], [60, 45, 140, 55], [80, 40, 200, 60]]
    np.testing.assert_allclose(decode_anchors(offsets, anchors), expected, rtol=1e-6)


def test_boxes_are_decoded_from_the_anchors_of_their_rows(yolact: ModelContract) -> None:
    rows = np.array([1, 19_247])
    boxes = decode_boxes(np.zeros((2, 4), np.float32), rows, yolact)
    centres, sides = np.split(anchor_boxes(yolact)[rows], 2, axis=1)
    np.testing.assert_allclose(boxes, np.hstack([centres - sides / 2, centres + sides / 2]))
