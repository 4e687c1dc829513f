import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileyolact.runtime.preprocess import Placement, preprocess

COLOUR = (200, 100, 50)


def test_stretch_normalises_each_channel_in_the_contracts_order(make_contract):
    contract = make_contract(colour_order="bgr", mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
    image = np.full((48, 96, 3), COLOUR, dtype=np.uint8)
    tensor, placement = preprocess(image, contract)
    assert tensor.shape == (1, 3, 32, 64)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    for plane, value in zip(
        tensor[0], ((50 - 10) / 2, (100 - 20) / 4, (200 - 30) / 8), strict=True
    ):
        assert plane == pytest.approx(value)
    assert placement == Placement(32 / 48, 32 / 48, 0.0, 0.0, 48, 96)


def test_a_picture_of_the_inputs_size_is_not_changed(make_contract):
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    for resize in ("stretch", "letterbox"):
        tensor, placement = preprocess(image, make_contract(resize=resize))
        assert np.array_equal(tensor[0], image.transpose(2, 0, 1))
        assert placement == Placement(1.0, 1.0, 0.0, 0.0, 32, 64)


def test_letterbox_centres_the_picture_on_the_fill(make_contract):
    contract = make_contract(
        resize="letterbox", fill=(1, 2, 3), colour_order="bgr", mean=(5.0,) * 3, std=(2.0,) * 3
    )
    tensor, placement = preprocess(np.full((64, 64, 3), COLOUR, dtype=np.uint8), contract)
    assert placement == Placement(0.5, 0.5, 16.0, 0.0, 64, 64)
    assert tensor[0, 0, :, 16:48] == pytest.approx((50 - 5) / 2)
    for plane, value in zip(tensor[0], (3, 2, 1), strict=True):
        assert plane[:, :16] == pytest.approx((value - 5) / 2)
        assert plane[:, 48:] == pytest.approx((value - 5) / 2)


@given(st.sampled_from(["stretch", "letterbox"]), st.integers(1, 3000), st.integers(1, 3000))
def test_the_placement_says_where_the_picture_lies(make_contract, resize, height, width):
    contract = make_contract(resize=resize, fill=(0, 0, 0))
    image = np.broadcast_to(np.uint8(255), (height, width, 3))
    tensor, placement = preprocess(image, contract)
    white = np.argwhere(tensor[0, 0] > 0)
    top, left = white.min(axis=0)
    bottom, right = white.max(axis=0) + 1
    whole = placement.boxes_to_image(np.float32([[left, top, right, bottom]]))
    assert whole[0] == pytest.approx([0, 0, width, height], rel=1e-5, abs=1e-3)
    if resize == "letterbox" and min(height, width) * 20 > max(height, width):
        assert placement.scale_x == pytest.approx(placement.scale_y, rel=0.5)
        assert left == pytest.approx(64 - right, abs=1)
        assert top == pytest.approx(32 - bottom, abs=1)
    if resize == "stretch":
        assert (left, top, right, bottom) == (0, 0, 64, 32)
