from pathlib import Path

import pytest

from mobileyolact.cli.sources import find_pictures, name_results
from mobileyolact.errors import OptionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.jpeg", "sub/deep/d.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(pictures: list[Path]) -> list[str]:
    return [picture.name for picture in pictures]


def test_a_folder_gives_its_pictures_by_name_and_not_those_of_subfolders(folder: Path) -> None:
    pictures, problems = find_pictures([str(folder)])
    assert names(pictures) == ["a.PNG", "b.jpg"]
    assert problems == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["b.jpg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("**/*.jp*g", ["b.jpg", "c.jpeg"]),
        ("*.txt", []),
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_globs(
    folder: Path, pattern: str, found: list[str], relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    pictures, problems = find_pictures([pattern if relative else str(folder / pattern)])
    assert names(pictures) == found
    assert bool(problems) == (not found)


def test_a_file_with_marks_in_its_name_is_a_file(tmp_path: Path) -> None:
    picture = tmp_path / "holiday [1].jpg"
    picture.touch()
    assert find_pictures([str(picture)]) == ([picture], [])


def test_each_picture_comes_once_and_in_the_order_given(folder: Path) -> None:
    sources = [str(folder / "sub" / "c.jpeg"), str(folder), str(folder / "b.jpg")]
    assert names(find_pictures(sources)[0]) == ["c.jpeg", "a.PNG", "b.jpg"]


def test_every_source_without_a_picture_is_named(folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    pictures, problems = find_pictures([str(empty), str(folder / "x*"), str(folder / "no.jpg")])
    assert pictures == []
    assert [("empty" in p, "x*" in p, "no.jpg" in p) for p in problems] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_results_are_named_like_pictures(tmp_path: Path) -> None:
    pictures = [Path("a.jpg"), Path("b.tif"), Path("c.JPEG")]
    results = name_results(pictures, tmp_path / "out")
    assert names(results) == ["a.jpg", "b.png", "c.jpg"]


def test_pictures_of_one_name_get_distinct_results(tmp_path: Path) -> None:
    pictures = [Path("x/a.png"), Path("y/a.bmp"), Path("z/A.png"), Path("z/a.jpg")]
    results = name_results(pictures, tmp_path)
    assert names(results) == ["a.png", "a-2.png", "A-3.png", "a.jpg"]


def test_no_result_takes_the_place_of_an_input(tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "a-2.png"]
    assert names(name_results(pictures, tmp_path)) == ["a-3.png", "a-2-2.png"]


def test_one_file_for_one_picture(tmp_path: Path) -> None:
    assert name_results([Path("a.png")], tmp_path / "r.webp") == [tmp_path / "r.webp"]


@pytest.mark.parametrize(
    ("pictures", "output", "message"),
    [
        (["a.png", "b.png"], "r.png", "for 2 pictures"),
        (["a.png"], "a.png", "would overwrite"),
        (["a.png"], "r.tif", "must end in"),
    ],
)
def test_a_file_that_cannot_be_the_result(
    pictures: list[str], output: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        name_results([tmp_path / p for p in pictures], tmp_path / output)
