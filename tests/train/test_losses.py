"""The losses on batches made by hand: what must be zero, what must be ignored, what must fall."""

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.labels.dataset import CLASS_AGNOSTIC
from mobileyolact.model.network import Outputs, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.train import losses
from mobileyolact.train.assign import CELLS_PER_OBJECT, Positives
from mobileyolact.train.boxes import cell_centres
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.losses import (
    box_losses,
    class_loss,
    compute_losses,
    mask_loss,
    within_budget,
)

CENTRES, STRIDES = cell_centres((64, 64), (8, 16))
CELL = 3 * 8 + 3  # centre (24, 24), stride 8
CONFIG = TrainConfig(iterations=1)


def batch(classes: list[int], labelled: list[bool] | None = None) -> Batch:
    """One 64 x 64 picture with the box (8, 8, 48, 40) for each class given, mask its left half."""
    count = len(classes)
    mask = torch.zeros(count, 16, 16, dtype=torch.uint8)
    mask[:, 2:10, 2:7] = 255
    return Batch(
        images=torch.zeros(1, 3, 64, 64),
        boxes=torch.tensor([[8.0, 8, 48, 40]]).repeat(count, 1),
        classes=torch.tensor(classes, dtype=torch.long),
        masks=mask,
        has_mask=torch.ones(count, dtype=torch.bool),
        image_index=torch.zeros(count, dtype=torch.long),
        labelled=torch.tensor([labelled or [True] * 3]),
        crowd_masks=torch.zeros(0, 16, 16, dtype=torch.uint8),
        crowd_classes=torch.zeros(0, dtype=torch.long),
        crowd_image_index=torch.zeros(0, dtype=torch.long),
        names=["picture.jpg"],
        mean=torch.zeros(3),
        std=torch.ones(3),
    )


def one_positive(target: float = 1.0) -> Positives:
    zero = torch.zeros(1, dtype=torch.long)
    return Positives(zero, torch.tensor([CELL]), zero, torch.tensor([target]), zero)


def test_quality_focal_loss_by_hand() -> None:
    scores = torch.full((1, len(CENTRES), 3), -100.0)
    scores[0, CELL, 1] = 0.0  # probability 0.5 against target 0.8
    loss = class_loss(scores, one_positive(0.8), batch([1]), CENTRES)
    expected = 0.3**2 * -(0.8 * math.log(0.5) + 0.2 * math.log(0.5))
    assert loss.item() == pytest.approx(expected, rel=1e-5)  # divided by max(0.8, 1)


def test_classes_that_are_not_labelled_give_no_negatives() -> None:
    scores = torch.full((1, len(CENTRES), 3), -100.0)
    scores[0, 5, 2] = 3.0
    assert class_loss(scores, one_positive(), batch([1]), CENTRES) > 100  # CELL, class 1, missed
    scores[0, CELL, 1] = 100.0
    assert class_loss(scores, one_positive(), batch([1]), CENTRES) > 1
    only_1 = [False, True, False]
    assert class_loss(scores, one_positive(), batch([1], only_1), CENTRES).item() == 0
    nothing = [False, False, False]
    assert class_loss(scores, one_positive(), batch([1], nothing), CENTRES).item() == 0
    scores[0, CELL, 1] = -100.0  # a labelled object still teaches its own class
    assert class_loss(scores, one_positive(), batch([1], nothing), CENTRES) >= 100


def test_a_crowd_excuses_its_class_inside_it() -> None:
    scores = torch.full((1, len(CENTRES), 3), -100.0)
    scores[0, CELL, 2] = 3.0
    empty = batch([])
    none = Positives(*(t[:0] for t in one_positive()))
    assert class_loss(scores, none, empty, CENTRES) > 1
    crowd = torch.zeros(1, 16, 16, dtype=torch.uint8)
    crowd[0, 6, 6] = 255  # holds the centre (24, 24)
    for index, excused in ((2, True), (1, False)):
        crowded = dataclasses.replace(
            empty,
            crowd_masks=crowd,
            crowd_classes=torch.tensor([index]),
            crowd_image_index=torch.tensor([0]),
        )
        assert (class_loss(scores, none, crowded, CENTRES).item() == 0) is excused


def test_perfect_boxes_cost_nothing() -> None:
    distributions = torch.full((1, len(CENTRES), 4, 8), -60.0)
    for side, distance in enumerate((2, 2, 3, 2)):  # of (8, 8, 48, 40) from (24, 24), stride 8
        distributions[0, CELL, side, distance] = 60.0
    boxes = torch.zeros(1, len(CENTRES), 4)
    boxes[0, CELL] = torch.tensor([8.0, 8, 48, 40])
    overlap, dfl = box_losses(
        distributions.flatten(2), boxes, one_positive(), batch([1]), CENTRES, STRIDES
    )
    assert overlap.item() == pytest.approx(0, abs=1e-6)
    assert dfl.item() == pytest.approx(0, abs=1e-6)
    boxes[0, CELL, 2] = 28.0  # half as wide: IoU and GIoU 0.5
    overlap, _ = box_losses(
        distributions.flatten(2), boxes, one_positive(), batch([1]), CENTRES, STRIDES
    )
    assert overlap.item() == pytest.approx(0.5, abs=1e-6)


def test_perfect_masks_cost_nothing_and_the_outside_of_the_box_does_not_count() -> None:
    scene = batch([1])
    coefficients = torch.zeros(1, len(CENTRES), 2)
    coefficients[0, CELL] = torch.tensor([20.0, 0.0])  # 1 and 0 after tanh
    prototypes = torch.zeros(1, 2, 16, 16)
    prototypes[0, 0] = torch.where(scene.masks[0] > 127, 50.0, -50.0)
    outputs = Outputs(coefficients, coefficients, coefficients, prototypes)
    loss = mask_loss(outputs, one_positive(), scene)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    prototypes[0, 0, 14:] = 50.0  # far below the box
    assert mask_loss(outputs, one_positive(), scene) == loss
    prototypes[0, 0, 4, 4] = -50.0
    assert mask_loss(outputs, one_positive(), scene) > 0.1


def crowded(seed: int, pictures: int) -> tuple[Positives, torch.Tensor]:
    """Positives with masks and without, far more than the mask loss takes."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, pictures, (900,), generator=random).sort().values
    ranks = torch.randint(0, CELLS_PER_OBJECT, (900,), generator=random)
    usable = torch.rand(900, generator=random) > 0.2
    return Positives(images, images, images, images.float(), ranks), usable


def test_the_best_cells_of_every_object_come_first() -> None:
    positives, usable = crowded(0, 4)
    chosen = within_budget(positives, usable, 4)
    assert len(chosen) == losses.MASKS_PER_BATCH
    assert usable[chosen].all()
    assert torch.equal(positives.images[chosen], positives.images[chosen].sort().values)
    left = usable.clone()
    left[chosen] = False
    assert positives.ranks[left].min() >= positives.ranks[chosen].max()
    few = usable & (positives.ranks == 3)
    assert torch.equal(within_budget(positives, few, 4), few.nonzero()[:, 0])
    assert not len(within_budget(positives, torch.zeros_like(usable), 4))


def test_two_processes_choose_what_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    positives, usable = crowded(1, 6)
    whole = within_budget(positives, usable, 6)
    parts = [(positives.images % 2 == rank).nonzero()[:, 0] for rank in (0, 1)]
    counts: list[torch.Tensor] = []

    def choose(rank: int) -> torch.Tensor:
        own = Positives(*(t[parts[rank]] for t in positives))
        own = own._replace(images=own.images // 2)  # picture i of the batch is i // 2 here
        monkeypatch.setattr(losses, "rank_and_world", lambda: (rank, 2))
        return parts[rank][within_budget(own, usable[parts[rank]], 3)]

    def collect(value: torch.Tensor) -> torch.Tensor:
        counts.append(value.float())
        return value.float() / 2

    monkeypatch.setattr(losses, "mean_over_processes", collect)
    for rank in (0, 1):
        choose(rank)
    monkeypatch.setattr(losses, "mean_over_processes", lambda value: sum(counts) / 2)
    together = torch.cat([choose(rank) for rank in (0, 1)]).sort().values
    assert torch.equal(together, whole.sort().values)


def test_objects_without_class_teach_masks_alone() -> None:
    preset = get_preset("n-320")
    network = build_network(preset, 3)
    scene = batch([CLASS_AGNOSTIC], [False] * 3)
    network_input = torch.zeros(1, 3, 320, 320)
    scene = dataclasses.replace(
        scene,
        images=network_input,
        boxes=scene.boxes * 5,
        masks=scene.masks.repeat_interleave(5, 1).repeat_interleave(5, 2),
    )
    outputs = Outputs(*(o.detach().requires_grad_() for o in network(network_input).raw))
    terms = compute_losses(outputs, scene, network, CONFIG)
    assert terms["class"].item() == terms["box"].item() == terms["dfl"].item() == 0
    assert terms["mask_bce"].item() > 0


@pytest.mark.parametrize("classes", [[], [1]])
def test_every_term_has_a_gradient_path_even_without_objects(classes: list[int]) -> None:
    preset = get_preset("n-320")
    network = build_network(preset, 3)
    scene = dataclasses.replace(
        batch(classes),
        images=torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0)),
        masks=torch.zeros(len(classes), 80, 80, dtype=torch.uint8),
    )
    terms = compute_losses(network(scene.images), scene, network, CONFIG)
    torch.stack(list(terms.values())).sum().backward()
    assert network.prototypes.out.weight.grad is not None
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
