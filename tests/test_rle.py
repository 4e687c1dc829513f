import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mobileyolact import rle
from mobileyolact.errors import LabelError

SIDES = st.integers(1, 40)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(bool, shape))


@given(MASKS)
def test_agrees_with_pycocotools(mask):
    coco = pytest.importorskip("pycocotools.mask")
    reference = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    encoded = rle.encode(mask)
    assert encoded == {"size": list(mask.shape), "counts": reference["counts"].decode()}
    assert np.array_equal(rle.decode(encoded), mask)
    assert np.array_equal(rle.decode(reference), mask)
    assert rle.area(encoded) == mask.sum()


@given(MASKS, st.tuples(*[st.integers(0, 9)] * 4))
def test_a_roi_is_encoded_like_the_whole_picture(bitmap, margins):
    left, right, top, bottom = margins
    whole = np.pad(bitmap, ((top, bottom), (left, right)))
    assert rle.encode_roi(bitmap, left, top, *whole.shape) == rle.encode(whole)


@pytest.mark.parametrize("length", [15, 16, 511, 512, 16383, 16384, 524288, 9_999_999])
def test_long_runs_at_the_borders_of_their_digits(length):
    coco = pytest.importorskip("pycocotools.mask")
    counts = [length, 1, 1, length, 7, 10_000_000 - 2 * length if 2 * length < 1e7 else 3]
    size = [sum(counts), 1]
    reference = coco.frPyObjects({"size": size, "counts": counts}, *size)
    listed = rle.decode({"size": size, "counts": counts})
    assert np.array_equal(rle.decode(reference), listed)
    assert rle.encode(listed)["counts"] == reference["counts"].decode()


def test_columns_come_first():
    mask = np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)
    assert np.array_equal(rle.decode({"size": [2, 3], "counts": [1, 3, 2]}), mask)


def test_an_empty_roi_is_an_empty_mask():
    for shape in ((0, 3), (3, 0), (0, 0)):
        encoded = rle.encode_roi(np.zeros(shape, dtype=bool), 1, 1, 5, 4)
        assert encoded == rle.encode(np.zeros((5, 4), dtype=bool))


@pytest.mark.parametrize(
    "broken",
    [
        {"counts": [6]},
        {"size": [2, 3]},
        {"size": [2], "counts": [2]},
        {"size": [float("inf"), 1], "counts": [2]},
        {"size": [-2, -3], "counts": [6]},
        {"size": [2, 3], "counts": [5]},
        {"size": [2, 3], "counts": [-1, 7]},
        {"size": [2, 3], "counts": [2**62, 2**62, 2**62, 2**62 + 6]},
        {"size": [2, 3], "counts": [2**70, 6]},
        {"size": [2, 3], "counts": [1.5, 4.5]},
        {"size": [2, 3], "counts": [[6], [1, 2]]},
        {"size": [2, 3], "counts": None},
        {"size": [2, 3], "counts": ""},
        {"size": [2, 3], "counts": []},
        {"size": [2, 3], "counts": "6 \u00e4"},
        {"size": [2, 3], "counts": "6\ud800"},
        {"size": [2, 3], "counts": "V"},
        {"size": [2, 3], "counts": "PPPPPPPPPPPPPP0"},
        {"size": [10**5, 10**5], "counts": [10**10]},
    ],
)
def test_a_malformed_rle_is_one_clear_error(broken):
    with pytest.raises(LabelError, match="RLE"):
        rle.decode(broken)


@given(st.binary(max_size=30), SIDES, SIDES)
def test_any_bytes_are_decoded_or_refused(counts, height, width):
    try:
        mask = rle.decode({"size": [height, width], "counts": counts})
    except LabelError:
        return
    assert mask.shape == (height, width)


def test_a_roi_must_lie_in_the_picture():
    with pytest.raises(LabelError, match="does not fit"):
        rle.encode_roi(np.ones((2, 2), dtype=bool), 3, 0, 4, 4)
    with pytest.raises(LabelError, match="two dimensions"):
        rle.encode(np.ones((2, 2, 2)))
