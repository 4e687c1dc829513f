from pathlib import Path
from typing import get_args

import pytest

from mobileyolact import zoo
from mobileyolact.errors import ModelError, OptionError


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An assets folder with every file of the model ``coco``, all empty."""
    monkeypatch.setattr(zoo, "ASSETS", tmp_path)
    for suffix in (".onnx", ".ncnn.param", ".ncnn.bin", ".ncnn.json", ".safetensors"):
        path = tmp_path / "coco" / f"n-416{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (None, "n-416.onnx"),
        ("onnx", "n-416.onnx"),
        ("ncnn", "n-416.ncnn.param"),
        ("safetensors", "n-416.safetensors"),
    ],
)
def test_a_name_gives_the_embedded_file(assets: Path, kind: zoo.Kind | None, file: str) -> None:
    assert zoo.resolve("coco", kind) == assets / "coco" / file


def test_a_model_is_complete_or_that_kind_is_not_there(assets: Path) -> None:
    model = zoo.list_models()[0]
    assert model.kinds() == ("onnx", "ncnn", "safetensors")
    (assets / "coco" / "n-416.ncnn.bin").unlink()
    assert model.kinds() == ("onnx", "safetensors")


def test_an_embedded_file_that_is_gone(assets: Path) -> None:
    (assets / "coco" / "n-416.onnx").unlink()
    with pytest.raises(ModelError, match=r"lacks its file n-416\.onnx; install"):
        zoo.resolve("coco")


@pytest.mark.parametrize("name", ["Coco", "cocoo", "resnet"])
def test_an_unknown_name_brings_the_nearest(name: str) -> None:
    with pytest.raises(OptionError, match=f"no model named '{name}'.*'coco"):
        zoo.resolve(name)


@pytest.mark.parametrize("as_path", [True, False])
@pytest.mark.parametrize("kind", get_args(zoo.Kind))
def test_a_path_gives_itself(tmp_path: Path, as_path: bool, kind: zoo.Kind) -> None:
    path = tmp_path / {"ncnn": "mine.ncnn.param"}.get(kind, f"mine.{kind}")
    path.touch()
    assert zoo.resolve(path if as_path else str(path)) == path
    assert zoo.resolve(path, kind) == path


def test_a_kind_that_is_not_embedded_is_made_by_export(assets: Path) -> None:
    with pytest.raises(OptionError, match=r"'coco' has no \.torchscript file; .* export coco"):
        zoo.resolve("coco", "torchscript")


def test_the_int8_model_has_no_checkpoint_of_its_own(assets: Path) -> None:
    assert zoo.list_models()[1].embedded == ("onnx",)
    with pytest.raises(OptionError, match=r"'coco-int8' has no \.safetensors file; .* 'coco'"):
        zoo.resolve("coco-int8", "safetensors")


def test_a_path_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.touch()
    with pytest.raises(OptionError, match=r"is a \.onnx file, but a \.safetensors file"):
        zoo.resolve(path, "safetensors")


@pytest.mark.parametrize("name", ["gone.onnx", "folder/gone", "photo.jpg"])
def test_a_path_that_is_no_model(tmp_path: Path, name: str) -> None:
    with pytest.raises((ModelError, OptionError), match=Path(name).name):
        zoo.resolve(tmp_path / name)


def test_all_embedded_models_are_whole() -> None:
    if not any(zoo.ASSETS.rglob("*.onnx")):
        pytest.skip("no weights are embedded yet")
    for model in zoo.list_models():
        assert model.kinds() == model.embedded
    total = sum(f.stat().st_size for f in zoo.ASSETS.rglob("*") if f.is_file())
    assert total <= 12e6
