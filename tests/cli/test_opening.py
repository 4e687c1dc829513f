from pathlib import Path

import pytest

from mobileyolact import zoo
from mobileyolact.cli import needs
from mobileyolact.cli.opening import open_backend_for
from mobileyolact.errors import ModelError, OptionError
from mobileyolact.runtime.predictor import Predictor


def test_unknown_names_and_backends(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nearest one is 'coco'"):
        open_backend_for("cocoa")
    model = tmp_path / "a.onnx"
    model.touch()
    with pytest.raises(OptionError, match="onnxrutime"):
        open_backend_for(model, "onnxrutime")


def test_a_name_has_no_torchscript_file() -> None:
    for open_model in (open_backend_for, Predictor):
        with pytest.raises(OptionError, match="export coco --format torchscript --images DIR"):
            open_model("coco", "torchscript")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        open_backend_for(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"b\.onnx"):
        open_backend_for(tmp_path / "b.onnx")


@pytest.mark.parametrize("backend", ["torch", "ncnn"])
def test_a_backend_that_does_not_read_the_file(backend: str, tmp_path: Path) -> None:
    model = tmp_path / "a.onnx"
    model.touch()
    with pytest.raises(OptionError, match=r"a\.onnx"):
        open_backend_for(model, backend)


def test_a_checkpoint_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.touch()
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(OptionError, match=r"best\.safetensors.*torch.*\[train\]"):
        open_backend_for(checkpoint)


def test_threads_of_a_checkpoint_are_not_ours_to_set(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.touch()
    with pytest.raises(OptionError, match="OMP_NUM_THREADS"):
        open_backend_for(checkpoint, threads=2)


def test_a_checkpoint_opens_in_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mobileyolact.contract import ClassInfo
    from mobileyolact.model.network import build_contract, build_network
    from mobileyolact.model.presets import get_preset
    from mobileyolact.model.weights import save_checkpoint

    preset = get_preset("n-320")
    contract = build_contract(preset, (ClassInfo(0, "cat", 17),))
    save_checkpoint(tmp_path / "a.safetensors", build_network(preset, 1), contract)
    for backend in (None, "torch"):
        opened = open_backend_for(tmp_path / "a.safetensors", backend)
        assert opened.contract == contract
        assert "PyTorch" in opened.describe()


@pytest.mark.parametrize("backend", [None, "onnxruntime", "ncnn", "torch"])
def test_the_embedded_model_in_every_backend(backend: str | None) -> None:
    if not any(zoo.ASSETS.rglob("*.onnx")):
        pytest.skip("no weights are embedded yet")
    if backend == "torch":
        pytest.importorskip("torch")
    opened = open_backend_for("coco", backend)
    assert opened.contract.name == "n-416"
    assert len(opened.contract.classes) == 80
    opened.close()
