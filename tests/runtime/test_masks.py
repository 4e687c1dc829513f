import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileyolact.runtime.masks import PrototypeMasks
from mobileyolact.runtime.preprocess import preprocess

RESIZES = st.sampled_from(["stretch", "letterbox"])
SIDES = st.integers(5, 400)


def place(contract, height, width):
    return preprocess(np.zeros((height, width, 3), dtype=np.uint8), contract)[1]


def cell_centres(contract):
    """Centres of the prototype cells in input pixels: x (1, w) and y (h, 1)."""
    stride = contract.prototype_stride
    height, width = (side // stride for side in contract.input_size)
    return (np.arange(width) + 0.5)[None] * stride, (np.arange(height) + 0.5)[:, None] * stride


def pixel_centres(placement):
    """Centres of the picture's pixels in input pixels: x (1, W) and y (H, 1)."""
    x = (np.arange(placement.image_width) + 0.5) * placement.scale_x + placement.offset_x
    y = (np.arange(placement.image_height) + 0.5) * placement.scale_y + placement.offset_y
    return x[None], y[:, None]


def whole_picture(placement):
    return np.float32([[0, 0, placement.image_width, placement.image_height]])


@given(RESIZES, SIDES, SIDES, st.floats(0, 2 * np.pi), st.floats(-8, 8))
def test_the_edge_of_a_half_plane_falls_on_the_right_pixels(
    make_contract, resize, height, width, angle, shift
):
    contract = make_contract(resize=resize)
    placement = place(contract, height, width)
    across, down = np.cos(angle), np.sin(angle)

    def distance(x, y):
        # Bilinear resampling keeps a linear function exactly, up to the outermost cell centres.
        x, y = np.clip(x, 2, 62), np.clip(y, 2, 30)
        return across * (x - 32) + down * (y - 16) - shift

    prototypes = np.stack([distance(*cell_centres(contract)), np.ones((8, 16))])
    masks = PrototypeMasks(
        whole_picture(placement),
        np.float32([[1, 0]]),
        np.float32(prototypes),
        contract,
        placement,
        0,
    )
    expected = distance(*pixel_centres(placement))
    clear = np.abs(expected) > 1e-4
    assert np.array_equal(masks.roi(0).bitmap[clear], expected[clear] > 0)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_circle_keeps_its_place_and_size_in_the_picture(make_contract, resize):
    contract = make_contract(resize=resize, input_size=(416, 416))
    placement = place(contract, 1080, 1920)
    x, y = cell_centres(contract)
    image_x = (x - placement.offset_x) / placement.scale_x
    image_y = (y - placement.offset_y) / placement.scale_y
    logits = 300 - np.hypot(image_x - 700, image_y - 500)
    masks = PrototypeMasks(
        whole_picture(placement),
        np.float32([[1, 0]]),
        np.float32([logits, logits]),
        contract,
        placement,
        0.0,
    )
    rows, columns = np.nonzero(masks.roi(0).bitmap)
    assert np.mean(columns + 0.5) == pytest.approx(700, abs=0.05)
    assert np.mean(rows + 0.5) == pytest.approx(500, abs=0.05)
    # The chords of a bilinear surface lie just inside the circle.
    assert len(rows) == pytest.approx(np.pi * 300**2, rel=2e-3)


def reference_mask(coefficients, prototypes, contract, placement, threshold):
    """Every picture pixel on its own: four cells, float64."""
    logits = np.tensordot(coefficients.astype(float), prototypes.astype(float), 1)
    rows, columns = logits.shape
    x, y = (p / contract.prototype_stride - 0.5 for p in pixel_centres(placement))
    x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, columns - 1), np.minimum(top + 1, rows - 1)
    fx, fy = x - left, y - top
    upper = logits[top, left] * (1 - fx) + logits[top, right] * fx
    lower = logits[bottom, left] * (1 - fx) + logits[bottom, right] * fx
    return upper * (1 - fy) + lower * fy - threshold


@given(RESIZES, SIDES, SIDES, st.booleans(), st.integers(0, 2**32 - 1))
def test_any_box_agrees_with_bilinear_resampling_of_the_whole_picture(
    make_contract, resize, height, width, rectify, seed
):
    random = np.random.default_rng(seed)
    contract = make_contract(
        resize=resize, prototype_activation="relu" if rectify else "none", fill=(0, 0, 0)
    )
    placement = place(contract, height, width)
    prototypes = random.normal(size=(2, 8, 16)).astype(np.float32)
    coefficients = random.normal(size=(3, 2)).astype(np.float32)
    box = random.uniform(0, 1, 4) * (width, height, width, height)
    box = np.float32([*np.minimum(box[:2], box[2:]), *np.maximum(box[:2], box[2:])])

    boxes = np.stack([np.zeros(4, np.float32), box, box])
    masks = PrototypeMasks(boxes, coefficients, prototypes, contract, placement, 0.2)
    roi = masks.roi(1)
    drawn = np.zeros((height, width), dtype=bool)
    rows, columns = roi.bitmap.shape
    drawn[roi.y : roi.y + rows, roi.x : roi.x + columns] = roi.bitmap

    activated = np.maximum(prototypes, 0) if rectify else prototypes
    expected = reference_mask(coefficients[1], activated, contract, placement, 0.2)
    x, y = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    clear = np.abs(expected) > 1e-4
    assert np.array_equal(drawn[clear], (inside & (expected > 0))[clear])
    again = masks.roi(1)
    assert (again.x, again.y) == (roi.x, roi.y)
    assert np.array_equal(again.bitmap, roi.bitmap)


def test_a_box_between_pixel_centres_has_an_empty_mask(make_contract):
    contract = make_contract()
    masks = PrototypeMasks(
        np.float32([[3.6, 1, 4.4, 9]]),
        np.ones((1, 2), dtype=np.float32),
        np.ones((2, 8, 16), dtype=np.float32),
        contract,
        place(contract, 32, 64),
        0.0,
    )
    assert masks.roi(0).bitmap.shape == (8, 0)


@pytest.mark.parametrize(("height", "width"), [(3000, 7), (7, 3000)])
def test_hundreds_of_pixels_a_cell_are_cut_exactly(make_contract, height, width):
    random = np.random.default_rng(6)
    contract = make_contract(resize="stretch")
    placement = place(contract, height, width)
    prototypes = random.normal(size=(2, 8, 16)).astype(np.float32)
    box = np.float32([[0, 0, width, height]])
    masks = PrototypeMasks(box, np.float32([[1, 0]]), prototypes, contract, placement, 0.2)
    expected = reference_mask(np.float32([1, 0]), prototypes, contract, placement, 0.2)
    clear = np.abs(expected) > 1e-4
    assert np.array_equal(masks.roi(0).bitmap[clear], expected[clear] > 0)


def test_masks_made_together_are_those_made_alone(make_contract):
    """More than one batch, each with a threshold of its own, in any order of asking."""
    random = np.random.default_rng(5)
    contract = make_contract()
    placement = place(contract, 90, 130)
    corners = np.sort(random.uniform(0, 1, (150, 2, 2)), axis=1) * (130, 90)
    boxes = corners.reshape(-1, 4).astype(np.float32)
    boxes[7] = (129.7, 3, 130, 80)  # no pixel's centre is inside
    prototypes = random.normal(size=(2, 8, 16)).astype(np.float32)
    coefficients = random.normal(size=(150, 2)).astype(np.float32)
    together = PrototypeMasks(boxes, coefficients, prototypes, contract, placement, None)
    for i in (149, 0, 7, 128, 3):
        row = slice(i, i + 1)
        alone = PrototypeMasks(boxes[row], coefficients[row], prototypes, contract, placement, None)
        a, b = together.roi(i), alone.roi(0)
        assert (a.x, a.y, a.bitmap.shape) == (b.x, b.y, b.bitmap.shape)
        assert np.count_nonzero(a.bitmap != b.bitmap) <= 0.01 * a.bitmap.size


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("threshold", [None, 0.2])
def test_values_that_are_not_finite_give_some_mask(make_contract, value, threshold):
    random = np.random.default_rng(7)
    contract = make_contract()
    prototypes = random.normal(size=(2, 8, 16)).astype(np.float32)
    prototypes[:, ::3, ::3] = value
    placement = place(contract, 60, 100)
    boxes = np.float32([[0, 0, 100, 60], [7, 5, 61, 58]])
    with np.errstate(invalid="ignore", over="ignore"):
        masks = PrototypeMasks(
            boxes, np.ones((2, 2), np.float32), prototypes, contract, placement, threshold
        )
        assert [masks.roi(i).bitmap.shape for i in range(2)] == [(60, 100), (53, 54)]
