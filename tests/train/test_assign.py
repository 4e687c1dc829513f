"""Task-aligned assignment on small scenes."""

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.train.assign import CELLS_PER_OBJECT, assign
from mobileyolact.train.boxes import cell_centres

CENTRES, _ = cell_centres((64, 64), (8,))


def scene(objects: list[list[float]], classes: list[int]) -> tuple:
    true = torch.tensor(objects, dtype=torch.float32).reshape(-1, 4)
    scores = torch.full((64, 3), 0.1)
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(64, 1)
    return scores, boxes, true, torch.tensor(classes, dtype=torch.long)


def test_no_objects_no_positives() -> None:
    scores, boxes, true, classes = scene([], [])
    assert len(assign(scores, boxes, CENTRES, true, classes).cells) == 0


def test_only_cells_inside_the_object_are_chosen_and_the_best_carries_its_iou() -> None:
    scores, boxes, true, classes = scene([[4, 4, 44, 44]], [1])
    boxes[:] = torch.tensor([4.0, 4, 44, 44])
    best = 3 * 8 + 2  # row 3, column 2
    boxes[:, 2] = 40.0
    boxes[best] = torch.tensor([4.0, 4, 44, 44])
    found = assign(scores, boxes, CENTRES, true, classes)
    assert len(found.cells) == CELLS_PER_OBJECT
    centres = CENTRES[found.cells]
    assert ((centres > 4) & (centres < 44)).all()
    assert found.cells[found.ranks == 0].tolist() == [best]
    assert found.targets.max().item() == pytest.approx(1.0)
    assert sorted(found.ranks.tolist()) == list(range(CELLS_PER_OBJECT))


def test_a_cell_wanted_by_two_objects_goes_to_the_one_it_overlaps_most() -> None:
    scores, boxes, true, classes = scene([[0, 0, 60, 60], [20, 20, 50, 50]], [0, 0])
    cell = 4 * 8 + 4  # centre (32, 32), inside both
    boxes[cell] = torch.tensor([20.0, 20, 50, 50])
    found = assign(scores, boxes, CENTRES, true, classes)
    assert found.objects[found.cells == cell].tolist() == [1]


def test_the_class_decides_unless_there_is_none() -> None:
    scores, boxes, true, classes = scene([[0, 0, 60, 60]], [2])
    boxes[:] = torch.tensor([0.0, 0, 60, 60])
    scores[9, 0] = 0.9  # another class
    scores[18, 2] = 0.8
    ranked = assign(scores, boxes, CENTRES, true, classes)
    assert ranked.cells[ranked.ranks == 0].tolist() == [18]
    agnostic = torch.tensor([CLASS_AGNOSTIC])
    ranked = assign(scores, boxes, CENTRES, true, agnostic)
    assert ranked.cells[ranked.ranks == 0].tolist() == [9]
