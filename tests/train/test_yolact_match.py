"""Matching on anchors made by hand: who is positive, negative, ignored, and with what offsets."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from mobileyolact.runtime.decode import decode_anchors
from mobileyolact.train.boxes import paired_iou
from mobileyolact.train.data import Batch
from mobileyolact.train.yolact_match import Matches, encode, match, to_corners


def scene(
    objects: list[list[float]], images: list[int] | None = None, pictures: int | None = None
) -> Batch:
    """Pictures of 64 x 64 with these boxes, all of class 0, in the first picture or ``images``."""
    index = images or [0] * len(objects)
    count, pictures = len(objects), pictures or max(index, default=0) + 1
    return Batch(
        images=torch.zeros(pictures, 3, 64, 64),
        boxes=torch.tensor(objects, dtype=torch.float32).reshape(-1, 4),
        classes=torch.zeros(count, dtype=torch.long),
        masks=torch.zeros(count, 16, 16, dtype=torch.uint8),
        has_mask=torch.zeros(count, dtype=torch.bool),
        image_index=torch.tensor(index, dtype=torch.long),
        labelled=torch.ones(pictures, 1, dtype=torch.bool),
        crowd_masks=torch.zeros(0, 16, 16, dtype=torch.uint8),
        crowd_classes=torch.zeros(0, dtype=torch.long),
        crowd_image_index=torch.zeros(0, dtype=torch.long),
        names=["x"] * pictures,
        mean=torch.zeros(3),
        std=torch.ones(3),
    )


def anchors(*corners: tuple[float, float, float, float]) -> Tensor:
    """Anchors (N, 4) cx, cy, w, h given as corners."""
    x1, y1, x2, y2 = torch.tensor(corners).T
    return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)


def pairs(found: Matches) -> set[tuple[int, int]]:
    """(anchor, object) of all positives."""
    return set(zip(found.anchors.tolist(), found.objects.tolist(), strict=True))


def test_from_iou_a_half_positive_below_two_fifths_negative_between_ignored() -> None:
    # The object is 10 x 10; anchors of its height share their width with it.
    grid = anchors(
        (0, 0, 10, 10),  # IoU 1
        (0, 0, 20, 10),  # 0.5: positive
        (0, 0, 21, 10),  # 0.476: ignored
        (0, 0, 25, 10),  # 0.4: still ignored
        (0, 0, 26, 10),  # 0.385: negative
        (30, 30, 40, 40),  # 0: negative
    )
    found = match(grid, scene([[0, 0, 10, 10]]))
    assert found.anchors.tolist() == [0, 1]
    assert found.overlaps.tolist() == pytest.approx([1, 0.5])
    assert found.negative.tolist() == [[False, False, False, False, True, True]]


def test_an_object_gets_its_best_anchor_however_little_they_overlap() -> None:
    grid = anchors((0, 0, 40, 40), (0, 0, 30, 30))
    found = match(grid, scene([[0, 0, 6, 6]]))
    assert pairs(found) == {(1, 0)}
    assert found.overlaps.tolist() == pytest.approx([36 / 900])
    assert found.negative.tolist() == [[True, False]]


def test_an_anchor_belongs_to_the_object_that_it_overlaps_most() -> None:
    grid = anchors((0, 0, 10, 10), (0, 0, 10, 12), (0, 0, 10, 20))
    found = match(grid, scene([[0, 0, 10, 10], [0, 0, 10, 20]]))
    assert pairs(found) == {(0, 0), (1, 0), (2, 1)}  # anchor 1: 0.83 of one, 0.6 of the other


def test_the_anchor_of_an_object_is_not_taken_by_one_that_overlaps_more() -> None:
    # Both objects like the only good anchor best; the worse one gets the next that is left.
    grid = anchors((0, 0, 10, 10), (0, 0, 60, 60))
    found = match(grid, scene([[0, 0, 9, 10], [0, 0, 10, 10]]))
    assert pairs(found) == {(0, 1), (1, 0)}


def test_of_equal_objects_the_first_gets_the_better_anchor() -> None:
    grid = anchors((0, 0, 10, 10), (0, 0, 60, 60))
    assert pairs(match(grid, scene([[0, 0, 10, 10]] * 2))) == {(0, 0), (1, 1)}


def test_own_anchors_are_the_pairs_of_the_greedy_search() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        grid = torch.rand(12, 4, generator=generator) * 30 + 10
        corner = torch.rand(8, 2, generator=generator) * 30
        boxes = torch.cat([corner, corner + 4 + torch.rand(8, 2, generator=generator) * 20], 1)
        iou = paired_iou(boxes[:, None], to_corners(grid)[None])
        expected, left = set(), iou.clone()
        while left.max() > 0:
            row, column = divmod(int(left.argmax()), 12)
            expected.add((column, row))
            left[row], left[:, column] = 0, 0
        found = pairs(match(grid, scene(boxes.tolist())))
        assert expected <= found
        for anchor, number in found - expected:  # the others are positive by their IoU
            assert iou[number, anchor] >= 0.5 and iou[number, anchor] == iou[:, anchor].max()


def test_more_objects_than_anchors_end() -> None:
    found = match(anchors((0, 0, 10, 10)), scene([[0, 0, 10, 9], [0, 0, 10, 10], [0, 0, 9, 9]]))
    assert pairs(found) == {(0, 1)}


def test_an_object_beyond_all_anchors_teaches_nothing() -> None:
    found = match(anchors((0, 0, 10, 10)), scene([[40, 40, 50, 50]]))
    assert not len(found.anchors) and found.negative.tolist() == [[True]]


def test_pictures_are_matched_alone() -> None:
    grid = anchors((0, 0, 10, 10), (0, 0, 60, 60), (30, 30, 40, 40))
    found = match(grid, scene([[0, 0, 10, 10], [0, 0, 10, 10], [30, 30, 40, 40]], [0, 2, 2], 4))
    assert list(zip(found.images.tolist(), found.anchors.tolist(), strict=True)) == [
        (0, 0),
        (2, 0),
        (2, 2),
    ]
    assert found.objects.tolist() == [0, 1, 2]
    everything = [True, True, True]
    assert found.negative.tolist() == [
        [False, True, True],
        everything,
        [False, True, False],
        everything,
    ]


@pytest.mark.parametrize("covered", [0.72, 0.64])
def test_anchors_inside_a_crowd_are_no_negatives(covered: float) -> None:
    batch = scene([[0, 0, 8, 8]], pictures=2)
    batch.crowd_masks = torch.zeros(1, 16, 16, dtype=torch.uint8)
    batch.crowd_masks[0, 5, 5] = batch.crowd_masks[0, 9, 9] = 1  # surrounded by (20, 20, 40, 40)
    batch.crowd_image_index, batch.crowd_classes = torch.tensor([0]), torch.tensor([0])
    beyond = 40 - 10 * covered
    grid = anchors((0, 0, 8, 8), (beyond, 22, beyond + 10, 32), (50, 50, 60, 60))
    found = match(grid, batch)
    assert found.negative.tolist() == [[False, covered < 0.7, True], [True, True, True]]


def test_an_empty_crowd_hides_nothing_and_an_object_in_a_crowd_stays_positive() -> None:
    batch = scene([[20, 20, 30, 30]])
    batch.crowd_masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    batch.crowd_masks[1] = 255
    batch.crowd_image_index, batch.crowd_classes = torch.tensor([0, 0]), torch.tensor([0, 0])
    grid = anchors((20, 20, 30, 30), (40, 40, 50, 50))
    found = match(grid, batch)
    assert pairs(found) == {(0, 0)} and not found.negative.any()
    batch.crowd_masks[1] = 0
    assert match(grid, batch).negative.tolist() == [[False, True]]


def test_offsets_by_hand() -> None:
    # 2 to the right of an anchor 10 wide, twice its width: 0.2 / 0.1 and ln 2 / 0.2.
    (offsets,) = encode(torch.tensor([[2.0, 0, 22, 10]]), torch.tensor([[10.0, 5, 10, 10]]))
    assert offsets.tolist() == pytest.approx([2, 0, np.log(2) / 0.2, 0])


def test_the_runtime_decodes_what_training_encodes() -> None:
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(200, 4, generator=generator) * 300 + 10
    corner = torch.rand(200, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + 4 + 200 * torch.rand(200, 2, generator=generator)], 1)
    decoded = decode_anchors(encode(boxes, grid).numpy(), grid.numpy())
    np.testing.assert_allclose(decoded, boxes.numpy(), atol=1e-3)


def test_all_positives_are_in_order_of_their_pictures() -> None:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(9, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 20], 1).tolist()
    grid = torch.rand(50, 4, generator=generator) * 30 + 10
    found = match(grid, scene(boxes, [0, 0, 0, 1, 1, 1, 2, 2, 2]))
    assert found.images.tolist() == sorted(found.images.tolist())
    both = list(zip(found.images.tolist(), found.anchors.tolist(), strict=True))
    assert len(set(both)) == len(both)  # no anchor has two objects
    assert not found.negative[found.images, found.anchors].any()
