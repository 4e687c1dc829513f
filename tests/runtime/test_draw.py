import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import ImageError, OptionError
from mobileyolact.runtime import draw as draw_module
from mobileyolact.runtime.chips import Chip, _ink, _place, draw_chips
from mobileyolact.runtime.draw import PALETTE, draw, draw_onto
from mobileyolact.runtime.instances import Instances
from mobileyolact.runtime.masks import Roi

CLASSES = tuple(ClassInfo(i, name, i) for i, name in enumerate(("person", "dog", "汽车 \u00e9")))


class Full:
    """Masks that fill their boxes, or that are empty for rows in ``empty``."""

    def __init__(self, boxes, empty=()):
        self.boxes, self.empty = boxes, empty

    def roi(self, row):
        x1, y1, x2, y2 = self.boxes[row].astype(int).tolist()
        return Roi(x1, y1, np.full((y2 - y1, x2 - x1), row not in self.empty))


def instances(boxes, classes, height, width, masks=None, empty=()):
    boxes = np.float32(boxes).reshape(-1, 4)
    scores = np.linspace(1, 0.5, len(boxes), dtype=np.float32)
    labels = np.array(classes, dtype=np.intp)
    return Instances(boxes, scores, labels, CLASSES, height, width, masks or Full(boxes, empty))


GREY = np.full((300, 400, 3), 100, dtype=np.uint8)


def blended(colour):
    return np.round(0.55 * 100 + 0.45 * np.array(colour))


def test_masks_are_tinted_and_the_rest_is_left_alone():
    found = instances([[40, 200, 140, 260]], [0], 300, 400)
    before = GREY.copy()
    drawn = draw(GREY, found)
    assert np.array_equal(GREY, before)
    assert np.abs(drawn[205:255, 45:135] - blended(PALETTE[0])).max() <= 1
    assert (drawn[:150] == 100).all()
    assert (drawn[265:] == 100).all()
    assert (drawn[:, 150:] == 100).all()
    assert np.abs(drawn[230, 40].astype(int) - PALETTE[0]).max() < 20  # the outline
    label = drawn[150:200].reshape(-1, 3)
    assert (label == PALETTE[0]).all(axis=1).sum() > 300
    assert (label.max(axis=1) < 40).any()


def test_small_instances_lie_on_large_ones_without_mixing_colours():
    boxes = [[100, 100, 160, 160], [10, 10, 390, 290]]
    drawn = draw(GREY, instances(boxes, [0, 0], 300, 400))
    assert drawn[150, 130] == pytest.approx(blended(PALETTE[0]), abs=1)
    assert drawn[200, 300] == pytest.approx(blended(PALETTE[1]), abs=1)


def test_colours_by_instance_and_by_class():
    boxes = [[10, 100, 90, 290], [110, 100, 190, 290], [210, 100, 290, 290]]
    found = instances(boxes, [0, 1, 0], 300, 400)
    first, second, third = (tuple(draw(GREY, found)[250, x]) for x in (50, 150, 250))
    assert len({first, second, third}) == 3
    first, second, third = (tuple(draw(GREY, found, "class")[250, x]) for x in (50, 150, 250))
    assert first == third != second


def test_drawing_into_the_picture_itself_a_few_rows_at_a_time(monkeypatch):
    boxes = [[10, 10, 300, 250], [100, 50, 200, 290], [120, 60, 180, 100]]
    found = instances(boxes, [0, 1, 2], 300, 400)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    canvas = noise.copy()
    drawn = draw(canvas, found)
    assert np.array_equal(canvas, noise), "draw leaves its picture alone"
    monkeypatch.setattr(draw_module, "_STRIP_PIXELS", 1000)
    draw_onto(canvas, found)
    assert np.array_equal(canvas, drawn)


def test_holes_have_an_outline_too():
    class Ring:
        def roi(self, row):
            return Roi(100, 100, np.pad(np.zeros((60, 60), bool), 40, constant_values=True))

    found = instances([[100, 100, 240, 240]], [0], 300, 400, Ring())
    drawn = draw(GREY, found)
    assert (drawn[150:190, 150:190] == 100).all()
    assert np.abs(drawn[170, 139].astype(int) - PALETTE[0]).max() < 20


def test_an_instance_without_a_mask_shows_its_box():
    drawn = draw(GREY, instances([[100, 100, 200, 200]], [1], 300, 400, empty=[0]))
    assert (drawn[120:180, 120:180] == 100).all()
    assert np.abs(drawn[150, 98:102].astype(int) - PALETTE[0]).sum(axis=1).min() < 200
    assert np.array_equal(draw(GREY, instances([], [], 300, 400)), GREY)


@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.tuples(*[st.floats(0, 1)] * 4)))
def test_any_box_in_any_picture_can_be_drawn(height, width, boxes):
    corners = np.float32(boxes).reshape(-1, 2, 2)
    corners = np.sort(corners, axis=1).reshape(-1, 4) * np.float32([width, height] * 2)
    found = instances(corners, np.arange(len(corners)) % 3, height, width)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    assert draw(image, found).shape == image.shape


@given(
    st.floats(-50, 500),
    st.floats(0, 300),
    st.floats(0, 300),
    st.lists(st.tuples(st.integers(0, 350), st.integers(0, 280)), max_size=30),
)
def test_labels_stay_in_the_picture_and_off_each_other(centre, top, height, corners):
    taken = [(x, y, x + 50, y + 20) for x, y in corners]
    place = _place(Chip("", PALETTE[0], centre, top, top + height), (20, 70), GREY, taken)
    if place is None:
        assert taken
        return
    x, y = place
    assert 0 <= x <= 400 - 70
    assert 0 <= y <= 300 - 20
    for x1, y1, x2, y2 in taken:
        common = max(0, min(x + 70, x2) - max(x, x1)) * max(0, min(y + 20, y2) - max(y, y1))
        assert common < 70 * 20 / 8


def test_labels_shrink_before_they_are_left_out():
    def ink(width):
        canvas = np.zeros((200, width, 3), dtype=np.uint8)
        draw_chips(canvas, [Chip("traffic light 99%", PALETTE[3], width / 2, 100, 180)])
        return (canvas.sum(axis=2) > 0).sum()

    assert ink(300) > ink(75) > 0
    assert ink(60) == 0


def test_text_is_larger_in_larger_pictures():
    heights = []
    for scale in (1, 4):
        canvas = np.zeros((720 * scale, 1280 * scale, 3), dtype=np.uint8)
        draw_chips(canvas, [Chip("dog", PALETTE[0], 640 * scale, 300 * scale, 400 * scale)])
        heights.append(np.ptp(np.nonzero(canvas.any(axis=(1, 2)))[0]) + 1)
    assert heights[1] == pytest.approx(4 * heights[0], abs=4)


@pytest.mark.parametrize("colour", [*PALETTE, (0, 0, 0), (255, 255, 255), (0, 0, 160)])
def test_text_has_contrast(colour):
    def luminance(rgb):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return linear[0] * 0.2126 + linear[1] * 0.7152 + linear[2] * 0.0722

    levels = sorted(luminance(np.array(c) / 255) + 0.05 for c in (colour, _ink(colour)))
    assert levels[1] / levels[0] >= 4.5


def test_wrong_pictures_and_options_are_clear_errors():
    found = instances([[1, 1, 9, 9]], [0], 300, 400)
    for image in (GREY[:-1], GREY[:, :, 0]):
        with pytest.raises(ImageError, match="400x300"):
            draw(image, found)
    with pytest.raises(OptionError, match="'instance' or 'class'"):
        draw(GREY, found, "rainbow")
