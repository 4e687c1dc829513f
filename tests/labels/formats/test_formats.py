import pytest

from mobileyolact.errors import LabelError
from mobileyolact.labels.formats import FORMATS, read_labels


def test_missing_files_and_folders(write, content, tmp_path) -> None:
    with pytest.raises(LabelError, match=r"gone\.json"):
        read_labels(tmp_path / "gone.json")
    with pytest.raises(LabelError, match="no picture folder"):
        read_labels(write(content), tmp_path / "gone")


def test_an_unknown_format_names_the_known_ones(tmp_path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(LabelError, match="coco"):
        read_labels(path)


@pytest.mark.parametrize("name", FORMATS)
def test_every_reader_refuses_what_is_not_its_own(name, tmp_path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG")
    assert FORMATS[name].probe(path) == 0
    assert FORMATS[name].probe(tmp_path) == 0
