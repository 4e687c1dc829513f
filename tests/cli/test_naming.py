import os
from pathlib import Path

import pytest

from mobileyolact.cli.naming import check_json, folder_of, name_results
from mobileyolact.cli.sources import Source
from mobileyolact.errors import OptionError


def results(paths: list[str | Path], output: Path) -> list[str]:
    return [path.name for path in name_results([Source(Path(p)) for p in paths], output)]


def test_results_are_named_like_sources(tmp_path: Path) -> None:
    assert results(["a.jpg", "b.tif", "c.JPEG", "d.avi", "e.MP4"], tmp_path / "out") == [
        "a.jpg",
        "b.png",
        "c.jpg",
        "d.mp4",
        "e.mp4",
    ]
    (camera,) = name_results([Source(Path("camera-3"), 3)], tmp_path)
    assert camera == tmp_path / "camera-3.mp4"


def test_sources_of_one_name_get_distinct_results(tmp_path: Path) -> None:
    assert results(["x/a.png", "y/a.bmp", "z/A.png", "z/a.jpg"], tmp_path) == [
        "a.png",
        "a-2.png",
        "A-3.png",
        "a.jpg",
    ]
    assert results(["x/a-2.png", "y/a.png", "z/a.png"], tmp_path) == [
        "a-2.png",
        "a.png",
        "a-3.png",
    ]
    assert len(set(results([f"{n}/a.png" for n in range(3000)], tmp_path))) == 3000


def test_one_letter_in_two_spellings_is_one_name_to_some_systems(tmp_path: Path) -> None:
    # One code point, or a letter and an accent.
    assert results(["x/\u00e9.png", "y/e\u0301.png"], tmp_path) == ["\u00e9.png", "e\u0301-2.png"]


def test_no_result_takes_the_place_of_a_source(tmp_path: Path) -> None:
    assert results([tmp_path / "a.png", tmp_path / "a-2.png"], tmp_path) == ["a-3.png", "a-2-2.png"]
    (tmp_path / "photo.png").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.png").symlink_to("../photo.png")
    assert results([tmp_path / "photo.png"], tmp_path / "out") == ["photo-2.png"]


def test_a_folder_of_a_results_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert results(["x/a.png"], tmp_path) == ["a-2.png"]


@pytest.mark.parametrize("letter", ["x", "é", "日", "😀"])
def test_names_of_full_length(letter: str, tmp_path: Path) -> None:
    stem = letter * (251 // len(letter.encode()))
    sources: list[str | Path] = [
        f"{folder}/{stem}{suffix}" for folder in "ab" for suffix in (".png", ".jp2", ".gif", "")
    ]
    named = results(sources, tmp_path)
    assert len(set(named)) == len(named)
    for name in named:
        assert len(os.fsencode(name)) <= 255
        assert name.endswith(".png")
        (tmp_path / name).touch()  # the file system agrees


def test_one_file_for_one_source(tmp_path: Path) -> None:
    assert results(["a.png"], tmp_path / "r.webp") == ["r.webp"]
    assert results(["a.avi"], tmp_path / "r.mkv") == ["r.mkv"]
    assert folder_of(tmp_path / "r.mkv") == tmp_path
    assert folder_of(tmp_path / "out") == tmp_path / "out"
    (tmp_path / "folder.png").mkdir()
    assert folder_of(tmp_path / "folder.png") == tmp_path / "folder.png"


@pytest.mark.parametrize(
    ("sources", "output", "message"),
    [
        (["a.png", "b.png"], "r.png", "for 2 sources"),
        (["a.png"], "a.png", "would overwrite"),
        (["a.png"], "r.tif", r"must end in \.jpg"),
        (["a.png"], "r.mp4", r"for a picture; it must end in \.jpg"),
        (["a.mp4"], "r.png", r"for a video; it must end in \.mp4"),
        (["a.mp4"], "a.mp4", "would overwrite"),
    ],
)
def test_a_file_that_cannot_be_the_result(
    sources: list[str], output: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        name_results([Source(tmp_path / s) for s in sources], tmp_path / output)


def test_json_has_a_name_of_its_own(tmp_path: Path) -> None:
    sources, targets = [Source(tmp_path / "a.png")], [tmp_path / "out" / "a.png"]
    check_json(tmp_path / "a.json", sources, targets)
    for path in (tmp_path / "a.png", tmp_path / "out" / "A.png"):
        with pytest.raises(OptionError, match="--json"):
            check_json(path, sources, targets)
