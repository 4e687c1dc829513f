"""Box arithmetic on tensors against cases worked by hand."""

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.train.boxes import (
    cell_centres,
    distances_to_boxes,
    expected_distances,
    giou,
    paired_iou,
)


def test_cells_run_level_by_level_and_row_by_row() -> None:
    centres, strides = cell_centres((16, 32), (8, 16))
    assert centres.tolist() == [
        *([x, y] for y in (0, 8) for x in (0, 8, 16, 24)),
        [0, 0],
        [16, 0],
    ]
    assert strides.tolist() == [8] * 8 + [16] * 2


def test_a_sharp_distribution_decodes_to_its_bin() -> None:
    logits = torch.full((1, 4, 8), -50.0)
    for side, bin_ in enumerate((1, 0, 2, 7)):
        logits[0, side, bin_] = 50.0
    distances = expected_distances(logits.flatten(1))
    assert distances.tolist()[0] == pytest.approx([1, 0, 2, 7])
    box = distances_to_boxes(distances, torch.tensor([[40.0, 16.0]]), torch.tensor([8.0]))
    assert box.tolist()[0] == pytest.approx([32, 16, 56, 72])


def test_iou_and_giou_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]])
    b = torch.tensor([[1.0, 0, 3, 2], [4, 0, 6, 2]])
    assert torch.allclose(paired_iou(a[:1, None], b), torch.tensor([[1 / 3, 0.0]]))
    # Disjoint: union 8, smallest box around both 12.
    assert torch.allclose(giou(a, b), torch.tensor([1 / 3, -4 / 12]))
