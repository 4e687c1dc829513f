"""Each term of YOLACT's losses against cases worked by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor
from yolact_scenes import batch, only

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.train.data import Batch
from mobileyolact.train.yolact_losses import (
    MASKS_PER_PICTURE,
    box_loss,
    class_loss,
    mask_loss,
    semantic_loss,
)
from mobileyolact.train.yolact_match import Matches

N = 8  # anchors
LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def matches(
    scene: Batch, positives: list[tuple[int, int]], ignored: tuple[int, ...] = ()
) -> Matches:
    """Matches of (anchor, object); all other anchors of all pictures are negative."""
    anchors, objects = torch.tensor(positives, dtype=torch.long).reshape(-1, 2).unbind(1)
    images = scene.image_index[objects]
    negative = torch.ones(len(scene.images), N, dtype=torch.bool)
    negative[images, anchors] = False
    negative[:, list(ignored)] = False
    return Matches(images, anchors, objects, torch.ones(len(objects)), negative)


def sure(scores: Tensor, index: int, *anchors: int) -> None:
    """Let these anchors of the first picture be sure of one entry of the softmax."""
    scores[0, list(anchors)] = 0.0
    scores[0, list(anchors), index] = 100.0


def test_cross_entropy_of_one_positive_and_its_three_hardest_negatives() -> None:
    scores = torch.zeros(1, N, 4)
    scores[..., 0] = LN3  # background has one half: a negative costs ln 2
    scores[0, 2] = torch.tensor([0.0, 0, 0, LN3])  # its own class has one half
    sure(scores, 0, 6)
    scores[0, 7] = torch.tensor([-LN3, 0, 0, -50.0])  # background has a seventh: the hardest
    scene = batch([2])
    found = matches(scene, [(2, 0)])
    expected = LN2 + math.log(7) + 2 * LN2
    assert class_loss(scores, found, scene).item() == pytest.approx(expected, rel=1e-5)
    found.negative[0, 7] = False
    assert class_loss(scores, found, scene).item() == pytest.approx(4 * LN2, rel=1e-5)


def test_hard_negatives_are_counted_picture_by_picture() -> None:
    scores = torch.zeros(2, N, 4)  # every anchor costs ln 4
    scene = batch([0, 1], [0, 0], pictures=2)
    found = matches(scene, [(0, 0), (1, 1)])
    # Two positives and six negatives; the picture without objects counts as one and has three.
    loss = class_loss(scores, found, scene).item()
    assert loss == pytest.approx((8 + 3) * LN4 / 3, rel=1e-5)
    found.negative[0, 3:] = False  # one is left in the first picture
    assert class_loss(scores, found, scene).item() == pytest.approx((3 + 3) * LN4 / 3, rel=1e-5)


def test_the_class_of_a_positive_is_one_above_its_index() -> None:
    for index in range(3):
        scores = torch.zeros(1, N, 4)
        scene = batch([index])
        found = matches(scene, [(0, 0)])
        sure(scores, 0, *range(1, N))
        sure(scores, index + 1, 0)
        assert class_loss(scores, found, scene).item() == pytest.approx(0, abs=1e-6)
        sure(scores, (index + 1) % 3 + 1, 0)
        assert class_loss(scores, found, scene).item() == pytest.approx(100)


def test_a_negative_may_show_an_unlabelled_class() -> None:
    scene = batch([1], labelled=only(1))
    found = matches(scene, [(0, 0)], ignored=tuple(range(2, N)))  # anchor 1 is the one negative
    scores = torch.zeros(1, N, 4)
    sure(scores, 2, 0)
    for index in (0, 1, 3):  # background, or what nobody looked for
        sure(scores, index, 1)
        assert class_loss(scores, found, scene).item() == pytest.approx(0, abs=1e-6)
    sure(scores, 2, 1)  # but of class 1 all objects are known
    assert class_loss(scores, found, scene).item() == pytest.approx(100 - LN3, rel=1e-5)
    scores[0, 1] = torch.tensor([0.0, 0, LN3, 0])  # one half
    assert class_loss(scores, found, scene).item() == pytest.approx(LN2, rel=1e-5)


def test_unlabelled_classes_are_not_pushed_down() -> None:
    scene = batch([1], labelled=only(1))
    scores = torch.zeros(1, N, 4, requires_grad=True)
    class_loss(scores, matches(scene, [(0, 0)]), scene).backward()
    negatives = scores.grad[0, 1:]
    negatives = negatives[negatives.any(1)]
    assert len(negatives) == 3
    assert (negatives[:, 2] > 0).all() and (negatives[:, [0, 1, 3]] < 0).all()
    own = scores.grad[0, 0]  # while a positive is that class and no other
    assert own[2] < 0 and (own[[0, 1, 3]] > 0).all()


def test_hard_negatives_are_found_by_what_is_labelled() -> None:
    scene = batch([1], labelled=only(1))
    scores = torch.zeros(1, N, 4)
    sure(scores, 2, 0)
    sure(scores, 3, 1, 2, 3)  # perhaps objects of the unlabelled class: not hard
    sure(scores, 0, 4, 5, 6, 7)
    scores[0, 7] = torch.tensor([0.0, 0, LN3, 0])
    loss = class_loss(scores, matches(scene, [(0, 0)]), scene).item()
    assert loss == pytest.approx(LN2, rel=1e-5)


def test_without_a_labelled_class_positives_teach_alone() -> None:
    scene = batch([1], labelled=only())
    scores = torch.zeros(1, N, 4, requires_grad=True)
    loss = class_loss(scores, matches(scene, [(0, 0)]), scene)
    assert loss.item() == pytest.approx(LN4)
    loss.backward()
    assert not scores.grad[0, 1:].any()
    nothing = batch([], labelled=only())
    assert class_loss(scores, matches(nothing, []), nothing).item() == 0


def test_smooth_l1_of_the_coded_offsets() -> None:
    grid = torch.tensor([[28.0, 24, 40, 32]]).repeat(N, 1)  # just the box
    scene = batch([0, CLASS_AGNOSTIC])
    found = matches(scene, [(0, 0), (1, 0), (2, 1)])
    offsets = torch.zeros(1, N, 4)
    offsets[0, 2:] = 9.0  # no class, no positive: no boxes
    assert box_loss(offsets, grid, found, scene).item() == 0
    offsets[0, 0] = torch.tensor([0.5, 0, 3, 0])  # 0.125 and 2.5
    assert box_loss(offsets, grid, found, scene).item() == pytest.approx(2.625 / 2)
    grid[1] = torch.tensor([26.0, 24, 40, 32])  # off by 2 of 40: 0.05 / 0.1
    assert box_loss(offsets, grid, found, scene).item() == pytest.approx((2.625 + 0.125) / 2)


def test_mask_loss_is_the_mean_inside_the_box() -> None:
    scene = batch([0])
    found = matches(scene, [(3, 0)])
    coefficients = torch.zeros(1, N, 2)
    coefficients[0, 3, 0] = 1.0
    prototypes = torch.zeros(1, 2, 16, 16)
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(LN2)
    prototypes[0, 0] = torch.where(scene.masks[0] > 127, 50.0, -50.0)
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(0, abs=1e-6)
    prototypes[0, 0, 10:] = prototypes[0, 0, :, 12:] = 50.0  # outside of the box
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(0, abs=1e-6)
    prototypes[0, 0, 4, 4] = -50.0  # one wrong cell of the 80
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(50 / 80)
    coefficients[0, 3] = torch.tensor([1.0, -1])
    prototypes[0, 1, 4, 4] = -100.0  # corrected by the second prototype
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(0, abs=1e-6)


def test_a_small_box_counts_as_much_as_a_large_one() -> None:
    scene = batch([0, 0])
    scene.boxes[1] = torch.tensor([8.0, 8, 12, 12])
    scene.masks[1] = 0
    scene.masks[1, 2, 2] = 255
    found = matches(scene, [(0, 0), (1, 1)])
    coefficients, prototypes = torch.zeros(1, N, 1), torch.full((1, 1, 16, 16), 1.0)
    coefficients[0, 0], coefficients[0, 1] = 0.0, -1.0
    expected = (LN2 + math.log(1 + math.e)) / 2
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(expected)


def test_of_many_positives_the_best_of_every_object_teach_their_masks() -> None:
    scene = batch([0, 0])
    count = MASKS_PER_PICTURE + 20
    objects = torch.zeros(count, dtype=torch.long)
    objects[-2:] = 1
    overlaps = torch.linspace(0.99, 0.5, count)
    found = Matches(
        torch.zeros(count, dtype=torch.long),
        torch.arange(count),
        objects,
        overlaps,
        torch.zeros(1, count, dtype=torch.bool),
    )
    coefficients = torch.zeros(1, count, 1, requires_grad=True)
    prototypes = scene.masks[:1, None] / 255
    loss = mask_loss(coefficients, prototypes, found, scene)
    assert loss.item() == pytest.approx(LN2, rel=1e-5)  # the chosen stand for all of them
    loss.backward()
    taught = (coefficients.grad[0, :, 0] != 0).nonzero()[:, 0].tolist()
    assert taught == [*range(MASKS_PER_PICTURE - 2), count - 2, count - 1]


def test_objects_without_masks_teach_none() -> None:
    scene = batch([0, 0], has_mask=torch.tensor([True, False]))
    found = matches(scene, [(0, 0), (1, 1)])
    coefficients, prototypes = torch.zeros(1, N, 1), torch.ones(1, 1, 16, 16)
    coefficients[0, 1] = 50.0
    assert mask_loss(coefficients, prototypes, found, scene).item() == pytest.approx(LN2)


def test_semantic_segmentation_by_hand() -> None:
    scene = batch([1, 1])
    scene.masks[0] = scene.masks[1] = 0
    scene.masks[0, 2:6, 2:6] = 255  # four cells of stride 8
    scene.masks[1, 4:8, 4:8] = 255  # four, of which one is the first's too
    logits = torch.full((1, 3, 8, 8), -50.0)
    logits[0, 1, 1:3, 1:3] = logits[0, 1, 2:4, 2:4] = 50.0
    assert semantic_loss(logits, scene).item() == pytest.approx(0, abs=1e-6)
    logits[0, 1, 1, 1] = -50.0
    assert semantic_loss(logits, scene).item() == pytest.approx(50 / 64)
    logits[0, 2, 7, 7] = 50.0
    assert semantic_loss(logits, scene).item() == pytest.approx(100 / 64)
    scene.masks[0, 2, 2] = 0  # the missed cell was three quarters of one
    assert semantic_loss(logits, scene).item() == pytest.approx((37.5 + 50) / 64)


def test_semantic_loss_of_pictures_is_their_mean() -> None:
    scene = batch([1], pictures=2)
    logits = torch.zeros(2, 3, 8, 8)
    assert semantic_loss(logits, scene).item() == pytest.approx(3 * LN2)
    logits[1] = -100.0
    assert semantic_loss(logits, scene).item() == pytest.approx(1.5 * LN2)


def test_semantic_loss_knows_what_is_not_labelled() -> None:
    logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
    semantic_loss(logits, batch([1], labelled=only(2))).backward()
    assert not logits.grad[0, 0].any()
    assert (logits.grad[0, 1, 1:5, 1:3] < 0).all()  # the object itself
    assert not logits.grad[0, 1, :, 4:].any()
    assert (logits.grad[0, 2] > 0).all()


@pytest.mark.parametrize("how", ["crowd", "box without mask"])
def test_semantic_loss_knows_regions_of_doubt(how: str) -> None:
    if how == "crowd":
        scene = batch([])
        scene.crowd_masks = torch.zeros(1, 16, 16, dtype=torch.uint8)
        scene.crowd_masks[0, 2:10, 2:12] = 200
        scene.crowd_image_index, scene.crowd_classes = torch.tensor([0]), torch.tensor([1])
    else:
        scene = batch([1], has_mask=torch.tensor([False]))
    logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
    semantic_loss(logits, scene).backward()
    expected = torch.ones(3, 8, 8, dtype=torch.bool)
    expected[1, 1:5, 1:6] = False
    assert ((logits.grad[0] > 0) == expected).all()
