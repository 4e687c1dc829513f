"""Learning from a teacher: nothing to learn where it is repeated, and inputs are converted."""

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import OptionError
from mobileyolact.model.network import Outputs, build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.weights import save_checkpoint
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.data import Batch
from mobileyolact.train.distil import distillation_losses, taught_by, teacher_outputs


def outputs(seed: int) -> Outputs:
    random = torch.Generator().manual_seed(seed)
    shapes = ((1, 20, 3), (1, 20, 32), (1, 20, 4), (1, 4, 8, 8))
    return Outputs(*(torch.randn(shape, generator=random) for shape in shapes))


def test_the_teacher_itself_is_the_optimum() -> None:
    taught = outputs(0)
    same = distillation_losses(taught, taught)
    assert same["teacher_box"].item() == pytest.approx(0, abs=1e-6)
    assert same["teacher_class"].item() == 0
    other = distillation_losses(outputs(1), taught)
    assert other["teacher_box"] > 0.1 and other["teacher_class"] > 0.1


def test_background_teaches_no_boxes() -> None:
    taught = outputs(0)._replace(scores=torch.full((1, 20, 3), -30.0))
    assert distillation_losses(outputs(1), taught)["teacher_box"].item() < 1e-6


def test_a_teacher_of_the_other_family_sees_the_same_picture() -> None:
    theirs, ours = get_preset("n-320"), get_preset("s-320")
    teacher = build_network(theirs, 2).eval()
    rgb = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255

    def normalised(pixels: torch.Tensor, preset: object) -> torch.Tensor:
        mean, std = (torch.tensor(v)[:, None, None] for v in (preset.mean, preset.std))
        return (pixels - mean) / std

    seen = teacher_outputs(teacher, normalised(rgb, ours), ours)
    with torch.no_grad():
        direct = teacher(normalised(rgb.flip(1), theirs))
    for a, b in zip(seen, direct, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def test_detections_come_from_the_teacher_who_must_know_the_classes(tmp_path) -> None:
    preset, known = get_preset("n-320"), (ClassInfo(0, "cat", 1),)
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, build_network(preset, 1), build_contract(preset, known))
    losses = taught_by(str(path), known)
    student = build_network(preset, 1, seed=1)
    images = torch.zeros(1, 3, 320, 320)
    nothing = torch.zeros(0, dtype=torch.long)
    batch = Batch(
        images=images,
        boxes=torch.zeros(0, 4),
        classes=nothing,
        masks=torch.zeros(0, 80, 80, dtype=torch.uint8),
        has_mask=torch.zeros(0, dtype=torch.bool),
        image_index=nothing,
        labelled=torch.ones(1, 1, dtype=torch.bool),
        crowd_masks=torch.zeros(0, 80, 80, dtype=torch.uint8),
        crowd_classes=nothing,
        crowd_image_index=nothing,
        names=["x"],
        mean=torch.zeros(3),
        std=torch.ones(3),
    )
    terms = losses(student(images), batch, student, TrainConfig(iterations=1))
    assert set(terms) == {"mask_bce", "mask_dice", "teacher_class", "teacher_box"}
    with pytest.raises(OptionError, match="knows other classes"):
        taught_by(str(path), (ClassInfo(0, "dog", 1),))
