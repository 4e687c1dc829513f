"""From a checkpoint to files: all of them checked, or none at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mobileyolact.errors import ModelError, OptionError, ParityError
from mobileyolact.export.artefact import export_artefacts
from mobileyolact.export.formats import EXPORTERS
from mobileyolact.export.parity import ParityBounds
from mobileyolact.model.weights import save_checkpoint
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.predictor import Predictor

FILES = {
    "tiny.onnx",
    "tiny.onnx.parity.json",
    "tiny.ncnn.param",
    "tiny.ncnn.bin",
    "tiny.ncnn.json",
    "tiny.ncnn.parity.json",
}


def test_all_files_exist_and_say_what_was_measured(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "a" / "b"
    artefacts = export_artefacts(checkpoint, out, ["onnx", "ncnn"], pictures)
    assert {path.name for path in out.iterdir()} == FILES
    assert [artefact.format for artefact in artefacts] == ["onnx", "ncnn"]
    for artefact in artefacts:
        assert artefact.files[0].is_file()
        assert artefact.parity.instances > 0
        assert artefact.parity.images == len(pictures)
        note = json.loads((out / f"tiny.{artefact.format}.parity.json").read_text())
        assert note["checkpoint"] == "tiny.safetensors"
        assert note["parity"]["mean_mask_iou"] == artefact.parity.mean_mask_iou
        assert note["bytes"] == {
            path.name: path.stat().st_size for path in artefact.files if path.name in note["bytes"]
        }


@pytest.mark.parametrize("format", sorted(EXPORTERS))
def test_another_input_size(
    format: str, checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (artefact,) = export_artefacts(checkpoint, tmp_path / "out", [format], pictures, (96, 128))
    assert artefact.files[0].name.startswith("tiny-128x96.")
    backend = open_backend(artefact.files[0], None, 1)
    assert backend.contract.input_size == (96, 128)
    cells = 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2
    assert [o.shape for o in backend.contract.outputs] == [
        (1, cells, 3),
        (1, cells, 32),
        (1, cells, 40),
        (1, 32, 24, 32),
    ]
    raw = backend.run(np.zeros((1, 3, 96, 128), np.float32))
    assert [x.shape for x in raw] == [o.shape for o in backend.contract.outputs]


def test_a_network_with_anchors_at_a_size_that_no_stride_divides(
    make_network: Callable[..., Any], pictures: list[Path], tmp_path: Path
) -> None:
    network, contract = make_network("paper-320", size=90)
    with torch.no_grad():  # as sure of some class as of the background
        network.head.scores.bias.view(3, -1)[:, 0] = 1.0
    checkpoint = tmp_path / "paper.safetensors"
    save_checkpoint(checkpoint, network, contract)
    artefacts = export_artefacts(checkpoint, tmp_path / "out", sorted(EXPORTERS), pictures)
    assert all(artefact.parity.instances > 0 for artefact in artefacts)
    with Predictor(artefacts[0].files[0]) as predictor:
        assert predictor.contract.score_activation == "softmax"
        found = predictor(pictures[0])
    assert len(found)
    assert found.scores.min() >= 0.3


@pytest.mark.parametrize("format", sorted(EXPORTERS))
def test_a_breach_leaves_the_folder_as_it_was(
    format: str, checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old = out / "tiny.onnx"
    old.write_text("an older export")
    strict = ParityBounds(min_snr_db=150.0)
    with pytest.raises(ParityError, match=rf"the {format} export of 'tiny.safetensors' differs"):
        export_artefacts(checkpoint, out, [format], pictures, bounds=strict)
    assert list(out.iterdir()) == [old]
    assert old.read_text() == "an older export"


def test_one_breach_keeps_back_every_format(
    checkpoint: Path,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mobileyolact.export import half

    def write_wrong(graph: Any, contract: Any, path: Path) -> None:
        half_stored = half.stored
        monkeypatch.setattr("mobileyolact.export.ncnn.stored", lambda w: half_stored(w * 0.9))
        good.write(graph, contract, path)

    good = EXPORTERS["ncnn"]
    monkeypatch.setitem(EXPORTERS, "ncnn", type(good)("ncnn", good.suffixes, write_wrong))
    with pytest.raises(ParityError, match="the ncnn export"):
        export_artefacts(checkpoint, tmp_path / "out", ["onnx", "ncnn"], pictures)
    assert not (tmp_path / "out").exists(), "the folder was not there before"


def test_not_a_checkpoint(pictures: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("no tensors here")
    with pytest.raises(ModelError, match=r"text\.safetensors"):
        export_artefacts(path, tmp_path / "out", ["onnx"], pictures)
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_names_the_nearest(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="no export format 'onx'; the nearest one is 'onnx'"):
        export_artefacts(checkpoint, tmp_path / "out", ["ncnn", "onx"], pictures)
    assert not (tmp_path / "out").exists()


def test_no_format_and_no_picture(checkpoint: Path, pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least one format"):
        export_artefacts(checkpoint, tmp_path / "out", [], pictures)
    with pytest.raises(OptionError, match="at least one picture"):
        export_artefacts(checkpoint, tmp_path / "out", ["onnx"], [])


def test_a_size_that_does_not_fit(checkpoint: Path, pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"100x100 pixels.*multiple of 32"):
        export_artefacts(checkpoint, tmp_path / "out", ["onnx"], pictures, (100, 100))


def test_a_folder_that_cannot_be_written(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OptionError, match=r"cannot write to the folder .*file.*choose another"):
        export_artefacts(checkpoint, tmp_path / "file", ["onnx"], pictures)


def test_a_target_that_is_in_the_way(
    checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "out" / "tiny.onnx" / "inside").mkdir(parents=True)
    with pytest.raises(OptionError, match=r"cannot write '.*tiny\.onnx', which is a folder"):
        export_artefacts(checkpoint, tmp_path / "out", ["ncnn", "onnx"], pictures)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny.onnx"]
