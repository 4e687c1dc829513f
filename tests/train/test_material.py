"""What a run learns from: labels, pictures without them, or both."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from drawn import draw_pictures

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import LabelError, OptionError
from mobileyolact.train.material import read_material

KNOWN = (ClassInfo(0, "disc", 1), ClassInfo(1, "cat", 2))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "labelled")


@pytest.fixture
def folder(tmp_path: Path, labels: Path) -> Path:
    """Three new pictures, one that is labelled, a text, a hidden file and a subfolder."""
    path = tmp_path / "more"
    draw_pictures(path, seed=1).unlink()
    (path / "4.png").unlink()
    (path / "linked.png").symlink_to(labels.parent / "1.png")
    (path / "notes.txt").write_text("no picture")
    (path / ".hidden").write_text("no picture either")
    shutil.copytree(labels.parent, path / "below")
    return path


def test_labels_alone(labels: Path) -> None:
    found = read_material([labels], val=labels)
    assert found.lines == (
        "data: 4 pictures with 8 labels of 2 classes (disc, square)",
        "validation: 4 pictures with 8 labels",
    )
    assert found.validation is not None and len(found.validation.records) == 4


def test_pictures_without_labels_are_added_once(labels: Path, folder: Path) -> None:
    found = read_material([labels], unlabelled=[folder, folder], taught=KNOWN)
    assert found.lines[1:] == (
        "without labels: 3 pictures",
        f"left out: {folder / 'notes.txt'} is not a readable picture",
        f"left out: {folder / 'notes.txt'} is not a readable picture",
    )
    assert [c.name for c in found.dataset.classes] == ["disc", "square"]
    more = found.dataset.records[4:]
    assert [record.path.name for record in more] == ["1.png", "2.png", "3.png"]
    for record in more:
        assert record.labels == () and record.exhaustive == frozenset()
        assert (record.width, record.height) == (320, 240)


def test_without_labels_the_classes_are_the_teachers(folder: Path) -> None:
    found = read_material([], unlabelled=[folder], taught=KNOWN)
    assert found.dataset.classes == KNOWN
    assert len(found.dataset.records) == 4
    assert found.lines[0] == "data: no labels, but a teacher of 2 classes (disc, cat)"


def test_what_is_missing_is_said(labels: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nothing to train on; give --data"):
        read_material([], taught=KNOWN)
    with pytest.raises(OptionError, match="need a teacher"):
        read_material([labels], unlabelled=[folder])
    with pytest.raises(LabelError, match="no picture folder .*nowhere"):
        read_material([labels], unlabelled=[tmp_path / "nowhere"], taught=KNOWN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match="empty holds no readable picture"):
        read_material([labels], unlabelled=[tmp_path / "empty"], taught=KNOWN)


def test_validation_must_share_a_class(labels: Path) -> None:
    content = json.loads(labels.read_text())
    content["categories"] = [{"id": 7, "name": "ball"}, {"id": 9, "name": "box"}]
    other = labels.with_name("other.json")
    other.write_text(json.dumps(content))
    with pytest.raises(LabelError, match=r"other\.json has no class of the training labels"):
        read_material([labels], val=other)
