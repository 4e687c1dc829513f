"""Learning from a teacher: nothing to learn where it is repeated, and labels go first."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ClassInfo
from mobileyolact.model.network import MobileYolact, Outputs, build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.train import distil
from mobileyolact.train.boxes import cell_centres
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.distil import (
    KeptFeatures,
    detection_losses,
    feature_loss,
    taught_by,
    taught_mask_loss,
)
from mobileyolact.train.teacher import Teacher

STRIDES = (8, 16, 32, 64)
CENTRES, STEPS = cell_centres((64, 64), STRIDES)
CELLS = len(CENTRES)
CELL = 3 * 8 + 3  # centre (24, 24), stride 8
BOX = [8.0, 8, 48, 40]  # of CELL: 2, 2, 3, 2 strides to its sides
CONFIG = TrainConfig(iterations=1, teacher_feature_weight=1.0)


def outputs(seed: int) -> Outputs:
    random = torch.Generator().manual_seed(seed)
    shapes = ((1, CELLS, 3), (1, CELLS, 32), (1, CELLS, 4), (1, 4, 16, 16))
    return Outputs(*(torch.randn(shape, generator=random) for shape in shapes))


def certain(seed: int, logit: float = 5.0, cell: int = CELL) -> Outputs:
    """A teacher that is certain of one cell, whose box is BOX if it is CELL."""
    made = outputs(seed)
    scores = torch.full_like(made.scores, -20.0)
    scores[0, cell, 1] = logit
    boxes = torch.full((1, CELLS, 4, 8), -60.0)
    for side, distance in enumerate((2, 2, 3, 2)):
        boxes[..., side, distance] = 60.0
    return made._replace(scores=scores, boxes=boxes.flatten(2))


def batch(boxes: list[list[float]] | None = None, size: int = 64, masks: bool = True) -> Batch:
    """One picture with labelled objects of class 0, each filling its box if there are masks."""
    count = len(boxes or [])
    nothing = torch.zeros(0, dtype=torch.long)
    return Batch(
        images=torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)),
        boxes=torch.tensor(boxes or []).view(-1, 4),
        classes=torch.zeros(count, dtype=torch.long),
        masks=torch.full((count, size // 4, size // 4), 255, dtype=torch.uint8),
        has_mask=torch.full((count,), masks),
        image_index=torch.zeros(count, dtype=torch.long),
        labelled=torch.ones(1, 3, dtype=torch.bool),
        crowd_masks=torch.zeros(0, size // 4, size // 4, dtype=torch.uint8),
        crowd_classes=nothing,
        crowd_image_index=nothing,
        names=["x"],
        mean=torch.zeros(3),
        std=torch.ones(3),
    )


def test_the_teacher_itself_is_the_optimum() -> None:
    taught = outputs(0)
    same = detection_losses(taught, taught)
    assert same["teacher_box"].item() == pytest.approx(0, abs=1e-6)
    assert same["teacher_class"].item() == 0
    other = detection_losses(outputs(1), taught)
    assert other["teacher_box"] > 0.1 and other["teacher_class"] > 0.1
    assert taught_mask_loss(certain(0), certain(0), batch(), STRIDES).item() == 0
    assert taught_mask_loss(certain(1), certain(0), batch(), STRIDES) > 0.05


def test_background_teaches_no_boxes() -> None:
    taught = outputs(0)._replace(scores=torch.full((1, CELLS, 3), -30.0))
    assert detection_losses(outputs(1), taught)["teacher_box"].item() < 1e-6


def test_a_teachers_mask_by_hand() -> None:
    student = certain(1)._replace(coefficients=torch.zeros(1, CELLS, 4))  # 0.5 everywhere
    taught = certain(0)
    loss = taught_mask_loss(student, taught, batch(), STRIDES)
    logits = taught.coefficients[0, CELL].tanh() @ taught.prototypes[0].flatten(1)
    p = logits.view(16, 16)[2:10, 2:12].sigmoid()  # the cells of BOX
    divergence = p * (2 * p).log() + (1 - p) * (2 - 2 * p).log()
    score = torch.tensor(5.0).sigmoid()  # below 1 mask a picture, it counts for less than one
    assert loss.item() == pytest.approx((divergence.mean() * score).item(), rel=1e-5)


def test_only_the_teachers_box_counts() -> None:
    taught, student = certain(0), certain(0)
    student.prototypes[0, :, 12:] += 9.0  # far below it
    assert taught_mask_loss(student, taught, batch(), STRIDES).item() == 0
    student.prototypes[0, :, 4, 4] += 9.0
    assert taught_mask_loss(student, taught, batch(), STRIDES) > 0


@pytest.mark.parametrize(
    ("boxes", "masks", "learnt"),
    [
        ([BOX], True, False),  # the label has its mask
        ([[8.0, 8, 44, 40]], True, False),
        ([BOX], False, True),  # a box alone: the mask comes from the teacher
        ([[40.0, 40, 60, 60]], True, True),  # another object
        ([], True, True),
    ],
)
def test_labels_go_before_the_teacher(boxes: list[list[float]], masks: bool, learnt: bool) -> None:
    loss = taught_mask_loss(certain(1), certain(0), batch(boxes, masks=masks), STRIDES)
    assert (loss.item() > 0) is learnt


def test_a_teacher_in_doubt_teaches_no_mask_and_less() -> None:
    assert taught_mask_loss(certain(1), certain(0, -1.0), batch(), STRIDES).item() == 0  # 0.27
    sure = taught_mask_loss(certain(1), certain(0, 5.0), batch(), STRIDES)
    unsure = taught_mask_loss(certain(1), certain(0, 0.0), batch(), STRIDES)
    assert unsure.item() == pytest.approx(sure.item() * 0.5 / 0.9933, rel=1e-3)


def test_without_a_certain_mask_the_gradient_is_zero() -> None:
    student = Outputs(*(o.requires_grad_() for o in outputs(1).raw))
    taught_mask_loss(student, certain(0, -9.0), batch(), STRIDES).backward()
    assert student.coefficients.grad is not None and not student.coefficients.grad.any()


def test_features_are_compared_as_a_share_of_the_teachers() -> None:
    taught = [torch.full((1, 2, 4, 4), 2.0), torch.full((1, 2, 2, 2), -3.0)]
    assert feature_loss(taught, taught).item() == 0
    assert feature_loss([torch.zeros_like(t) for t in taught], taught).item() == 1
    assert feature_loss([2 * t for t in taught], [5 * t for t in taught]).item() == (
        pytest.approx(0.36)
    )


@pytest.fixture(scope="module")
def networks() -> tuple[MobileYolact, MobileYolact]:
    """A student and a teacher of the other family."""
    return build_network(get_preset("s-320"), 2, seed=1), build_network(get_preset("n-416"), 2)


def teacher_of(network: MobileYolact) -> Teacher:
    classes = (ClassInfo(0, "cat", 1), ClassInfo(1, "dog", 2))
    return Teacher(network.eval(), build_contract(network.preset, classes), [0, 1])


def test_a_student_of_another_family_learns_all(
    networks: tuple[MobileYolact, MobileYolact], monkeypatch: pytest.MonkeyPatch
) -> None:
    student, master = networks
    losses = taught_by(teacher_of(master), student)
    scene = dataclasses.replace(batch(size=320), labelled=torch.zeros(1, 2, dtype=torch.bool))
    # A teacher whose every score is the prior is certain of nothing.
    monkeypatch.setattr(distil, "TEACHER_SCORE", 0.001)
    terms = losses(student(scene.images), scene, student, CONFIG)
    assert set(terms) == {
        "mask_bce", "teacher_class", "teacher_box", "teacher_mask", "teacher_feature",
    }  # fmt: skip
    assert terms["mask_bce"].item() == 0  # there is no label
    for name in ("teacher_box", "teacher_mask", "teacher_feature"):
        assert terms[name] > 0, name
    student.zero_grad()
    terms["teacher_mask"].backward(retain_graph=True)
    assert student.prototypes.out.weight.grad.abs().sum() > 0
    student.zero_grad()
    terms["teacher_feature"].backward()
    assert student.neck.reduce[0].conv.weight.grad.abs().sum() > 0
    assert student.prototypes.out.weight.grad is None


def test_what_has_no_weight_is_not_computed(networks: tuple[MobileYolact, MobileYolact]) -> None:
    student, master = networks
    scene = dataclasses.replace(batch(size=320), labelled=torch.zeros(1, 2, dtype=torch.bool))
    losses = taught_by(teacher_of(master), student)
    none = dataclasses.replace(CONFIG, teacher_mask_weight=0.0, teacher_feature_weight=0.0)
    terms = losses(student(scene.images), scene, student, none)
    assert set(terms) == {"mask_bce", "teacher_class", "teacher_box"}
    doubled = dataclasses.replace(none, teacher_weight=2.0)
    again = losses(student(scene.images), scene, student, doubled)
    assert again["teacher_box"].item() == pytest.approx(2 * terms["teacher_box"].item())


def test_features_of_copies_and_of_predictions_are_not_kept() -> None:
    network = build_network(get_preset("n-320"), 1).eval()
    kept = KeptFeatures(network, gradients=True)
    network(torch.zeros(1, 3, 64, 64))
    first = kept.features
    assert [f.shape for f in first] == [(1, 96, 8, 8), (1, 96, 4, 4), (1, 96, 2, 2)]
    before = list(first)
    with torch.no_grad():
        network(torch.ones(1, 3, 64, 64))
    assert all(a is b for a, b in zip(kept.features, before, strict=True))
