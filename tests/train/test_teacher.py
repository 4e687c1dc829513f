"""The teacher sees what the student sees, and must know what the student learns."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import ModelError, OptionError
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import Preset, get_preset
from mobileyolact.model.weights import save_checkpoint
from mobileyolact.train.teacher import Teacher

N, S = get_preset("n-320"), get_preset("s-320")


def classes(*names: str) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(i, name, 10 + i) for i, name in enumerate(names))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    known = classes("cat", "dog", "hot dog")
    save_checkpoint(path, build_network(get_preset("n-416"), 3), build_contract(N, known))
    return Teacher.load(str(path))


def normalised(rgb: torch.Tensor, preset: Preset) -> torch.Tensor:
    pixels = rgb.flip(1) if preset.colour_order == "bgr" else rgb
    mean, std = (torch.tensor(v)[:, None, None] for v in (preset.mean, preset.std))
    return (pixels - mean) / std


def test_it_sees_the_same_picture_whatever_the_student_is(teacher: Teacher) -> None:
    rgb = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    seen = [teacher.outputs(normalised(rgb, student), student) for student in (N, S)]
    for a, b in zip(seen[0].raw, seen[1].raw, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
    assert not seen[0].scores.requires_grad


def test_it_teaches_the_students_classes_in_their_order(teacher: Teacher) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    everything = teacher.outputs(images, N).scores
    some = teacher.of(classes("Hot_Dog", "cat"), S).outputs(images, N).scores
    assert torch.equal(some, everything[..., [2, 0]])


def test_it_must_know_the_classes(teacher: Teacher) -> None:
    with pytest.raises(OptionError, match="does not know the class 'bird'"):
        teacher.of(classes("cat", "bird"), S)


def test_outputs_must_be_of_one_kind(teacher: Teacher) -> None:
    with pytest.raises(OptionError, match="paper-320 cannot learn from a teacher of preset n-320"):
        teacher.of(classes("cat"), get_preset("paper-320"))


def test_it_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.safetensors"):
        Teacher.load(str(tmp_path / "missing.safetensors"))
