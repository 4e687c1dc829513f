"""Task-aligned assignment on small scenes."""

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.train.assign import CELLS_PER_OBJECT, assign
from mobileyolact.train.boxes import cell_centres
from mobileyolact.train.data import Batch

CENTRES, _ = cell_centres((64, 64), (8,))
LOW = -2.0  # the logit of every score that a test does not set


def scene(
    objects: list[list[float]], classes: list[int], images: list[int] | None = None
) -> tuple[Tensor, Tensor, Batch]:
    """Scores (B, 64, 3) and boxes (B, 64, 4) of all cells, and the objects as a batch."""
    index = images or [0] * len(objects)
    count, pictures = len(objects), max(index, default=0) + 1
    batch = Batch(
        images=torch.zeros(pictures, 3, 64, 64),
        boxes=torch.tensor(objects, dtype=torch.float32).reshape(-1, 4),
        classes=torch.tensor(classes, dtype=torch.long),
        masks=torch.zeros(count, 16, 16, dtype=torch.uint8),
        has_mask=torch.zeros(count, dtype=torch.bool),
        image_index=torch.tensor(index, dtype=torch.long),
        labelled=torch.ones(pictures, 3, dtype=torch.bool),
        crowd_masks=torch.zeros(0, 16, 16, dtype=torch.uint8),
        crowd_classes=torch.zeros(0, dtype=torch.long),
        crowd_image_index=torch.zeros(0, dtype=torch.long),
        names=["x"] * pictures,
        mean=torch.zeros(3),
        std=torch.ones(3),
    )
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(pictures, 64, 1)
    return torch.full((pictures, 64, 3), LOW), boxes, batch


def test_no_objects_no_positives() -> None:
    scores, boxes, batch = scene([], [])
    assert all(len(values) == 0 for values in assign(scores, boxes, CENTRES, batch))


def test_only_cells_inside_the_object_are_chosen_and_the_best_carries_its_iou() -> None:
    scores, boxes, batch = scene([[4, 4, 44, 44]], [1])
    boxes[:] = torch.tensor([4.0, 4, 44, 44])
    best = 3 * 8 + 2  # row 3, column 2
    boxes[0, :, 2] = 40.0
    boxes[0, best] = torch.tensor([4.0, 4, 44, 44])
    found = assign(scores, boxes, CENTRES, batch)
    assert len(found.cells) == CELLS_PER_OBJECT
    centres = CENTRES[found.cells]
    assert ((centres > 4) & (centres < 44)).all()
    assert found.cells[found.ranks == 0].tolist() == [best]
    assert found.targets.max().item() == pytest.approx(1.0)
    assert sorted(found.ranks.tolist()) == list(range(CELLS_PER_OBJECT))


def test_a_cell_wanted_by_two_objects_goes_to_the_one_it_overlaps_most() -> None:
    scores, boxes, batch = scene([[0, 0, 60, 60], [20, 20, 50, 50]], [0, 0])
    cell = 4 * 8 + 4  # centre (32, 32), inside both
    boxes[0, cell] = torch.tensor([20.0, 20, 50, 50])
    found = assign(scores, boxes, CENTRES, batch)
    assert found.objects[found.cells == cell].tolist() == [1]


def test_of_two_equal_objects_the_first_gets_the_cell() -> None:
    scores, boxes, batch = scene([[0, 0, 60, 60]] * 2, [0, 0])
    boxes[:] = torch.tensor([0.0, 0, 60, 60])
    found = assign(scores, boxes, CENTRES, batch)
    assert set(found.objects.tolist()) == {0}
    assert len(found.cells.unique()) == len(found.cells) == CELLS_PER_OBJECT


def test_pictures_do_not_share_cells() -> None:
    box = [8.0, 8, 56, 56]
    scores, boxes, batch = scene([box, box, box], [0, 1, 0], [0, 2, 2])
    boxes[:] = torch.tensor(box)
    scores[2, :, 1] = 1.0
    boxes[2, 0:30] = torch.tensor([0.0, 0, 9, 9])
    together = assign(scores, boxes, CENTRES, batch)
    assert together.images.tolist() == sorted(together.images.tolist())
    assert set(together.images.tolist()) == {0, 2}
    alone_scores, alone_boxes, alone = scene([box], [0])
    alone_boxes[:] = torch.tensor(box)
    single = assign(alone_scores, alone_boxes, CENTRES, alone)
    mine = together.images == 0
    for name in ("cells", "objects", "targets", "ranks"):
        assert getattr(together, name)[mine].tolist() == getattr(single, name).tolist()


def test_the_class_decides_unless_there_is_none() -> None:
    scores, boxes, batch = scene([[0, 0, 60, 60]], [2])
    boxes[:] = torch.tensor([0.0, 0, 60, 60])
    scores[0, 9, 0] = 2.0  # another class
    scores[0, 18, 2] = 1.5
    ranked = assign(scores, boxes, CENTRES, batch)
    assert ranked.cells[ranked.ranks == 0].tolist() == [18]
    batch.classes[:] = CLASS_AGNOSTIC
    ranked = assign(scores, boxes, CENTRES, batch)
    assert ranked.cells[ranked.ranks == 0].tolist() == [9]
