"""Masks of cells as the losses see them: the same as at run time, and what counts of them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mobileyolact.model.network import Outputs
from mobileyolact.runtime.position import position_in_u
from mobileyolact.train.masks import box_coverage, placed_mask_logits, position_logits

GRID, INPUT = torch.Size((8, 16)), torch.Size((32, 64))


def test_positions_are_those_of_the_run_time() -> None:
    random = torch.Generator().manual_seed(0)
    coefficients = torch.randn(2, 8, generator=random)
    boxes = torch.tensor([[8.0, 4, 44, 26], [0, 0, 64, 32]])
    columns = ((torch.arange(16) * 4 + 2 - boxes[:, :1]) * 2) / (boxes[:, 2:3] - boxes[:, :1]) - 1
    rows = ((torch.arange(8) * 4 + 2 - boxes[:, 1:2]) * 2) / (boxes[:, 3:] - boxes[:, 1:2]) - 1
    u, v = columns.clamp(-1, 1).numpy(), rows.clamp(-1, 1).numpy()
    found = position_logits(coefficients, boxes, GRID, INPUT)
    for plane, row, of_columns, of_rows in zip(found, coefficients, u, v, strict=True):
        by_row = np.broadcast_to(row, (len(of_rows), 8))
        one, linear, square = (f[:, None] for f in position_in_u(by_row, of_rows))
        expected = one + of_columns * linear + of_columns**2 * square
        np.testing.assert_allclose(plane.numpy(), expected, atol=1e-5)


def test_prototypes_and_position_are_added() -> None:
    random = torch.Generator().manual_seed(1)
    outputs = Outputs(
        torch.zeros(2, 5, 3),
        torch.zeros(2, 5, 32),
        torch.randn(2, 5, 4 + 8, generator=random),
        torch.randn(2, 4, *GRID, generator=random),
    )
    images, cells = torch.tensor([0, 1, 1]), torch.tensor([4, 0, 2])
    boxes = torch.tensor([[8.0, 4, 44, 26]]).repeat(3, 1)
    logits = placed_mask_logits(outputs, images, cells, boxes, INPUT)
    alone = placed_mask_logits(
        outputs._replace(coefficients=outputs.coefficients[..., :4]), images, cells, boxes, INPUT
    )
    row = outputs.coefficients[1, 2]
    mixed = torch.einsum("k,khw->hw", row[:4].tanh(), outputs.prototypes[1])
    torch.testing.assert_close(alone[2], mixed)
    torch.testing.assert_close(
        logits[2] - alone[2], position_logits(row[None, 4:], boxes[:1], GRID, INPUT)[0]
    )


def test_cells_count_for_as_much_as_the_box_covers() -> None:
    box = torch.tensor([[8.0, 10, 46, 40]])
    coverage = box_coverage(box, torch.Size((16, 16)), torch.Size((64, 64)))[0]
    assert coverage.sum().item() == pytest.approx(38 * 30 / 16)
    assert coverage[2, 2] == 0.5 and coverage[5, 5] == 1 and coverage[5, 11] == 0.5
    assert coverage[:2].sum() == coverage[10:].sum() == coverage[:, 12:].sum() == 0
