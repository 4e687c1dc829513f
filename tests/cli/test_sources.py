import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileyolact.cli.pictures import write_picture
from mobileyolact.cli.sources import Source, find_pictures, find_sources
from mobileyolact.errors import OptionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "film.mp4", "sub/c.jpeg", "sub/deep/d.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(sources: list[Source]) -> list[str]:
    return [source.path.name for source in sources]


def test_a_folder_gives_its_pictures_by_name_and_not_those_of_subfolders(folder: Path) -> None:
    sources, problems = find_sources([str(folder)])
    assert names(sources) == ["a.PNG", "b.jpg"]
    assert problems == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["b.jpg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("*.mp4", ["film.mp4"]),
        ("**/*.jp*g", ["b.jpg", "c.jpeg"]),
        ("*.txt", []),
        ("**x/*.jpg", []),
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_globs(
    folder: Path, pattern: str, found: list[str], relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    sources, problems = find_sources([pattern if relative else str(folder / pattern)])
    assert names(sources) == found
    assert len(problems) == (not found)


def test_a_file_with_marks_in_its_name_is_a_file(tmp_path: Path) -> None:
    picture = tmp_path / "holiday [1].jpg"
    picture.touch()
    assert find_sources([str(picture)]) == ([Source(picture)], [])


def test_each_picture_comes_once_and_in_the_order_given(folder: Path) -> None:
    words = [str(folder / "sub" / "c.jpeg"), str(folder), str(folder / "b.jpg")]
    assert names(find_sources(words)[0]) == ["c.jpeg", "a.PNG", "b.jpg"]
    (folder / "again.jpg").symlink_to("b.jpg")
    assert names(find_sources([str(folder)])[0]) == ["a.PNG", "again.jpg"]


def test_every_word_without_a_picture_is_named(folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    words = [str(empty), str(folder / "x*"), str(folder / "no.jpg"), "a" * 5000]
    sources, problems = find_sources(words)
    assert sources == []
    assert len(problems) == 4
    for part, problem in zip(("empty", "x*", "no.jpg", "aaaaa"), problems, strict=True):
        assert part in problem


def test_videos_of_a_folder_are_mentioned_where_no_picture_is_in_it(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MOV"):
        (tmp_path / name).touch()
    sources, (problem,) = find_sources([str(tmp_path)])
    assert sources == []
    assert "no picture, but videos, of which there are 2" in problem


def test_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources, problems = find_sources(["camera:0", "camera:12", "camera:0", "camera:x"])
    assert [(str(s), s.camera, s.is_video) for s in sources] == [
        ("camera:0", 0, True),
        ("camera:12", 12, True),
    ]
    assert len(problems) == 1
    Path("camera:0").touch()
    assert find_sources(["camera:0"])[0] == [Source(Path("camera:0"))], "a file comes first"


def test_links_that_lead_nowhere_are_named_and_the_rest_is_taken(folder: Path) -> None:
    (folder / "broken.jpg").symlink_to("gone.jpg")
    (folder / "loop1.jpg").symlink_to("loop2.jpg")
    (folder / "loop2.jpg").symlink_to("loop1.jpg")
    (folder / "round").symlink_to(".")
    (folder / "there").symlink_to("back")
    (folder / "back").symlink_to("there")
    for word in (str(folder), str(folder / "**" / "*.[jP][pN][gG]")):
        sources, problems = find_sources([word])
        assert names(sources)[:2] == ["a.PNG", "b.jpg"]
        assert [
            name for name in ("broken", "loop1", "loop2") if name not in "".join(problems)
        ] == []
        assert len(problems) == 3
    # Named on its own, a broken link is left to whoever reads it.
    assert names(find_sources([str(folder / "loop1.jpg")])[0]) == ["loop1.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a matter of Unix")
def test_a_pipe_in_a_folder_is_no_picture(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    assert find_sources([str(folder)]) == ([Source(folder / "a.PNG"), Source(folder / "b.jpg")], [])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_results_of_an_earlier_run_are_not_found_again(suffix: str, tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"photo{suffix}")
    write_picture(tmp_path / f"photo-2{suffix}", pixels)
    write_picture(tmp_path / f"only{suffix}", pixels)
    word = str(tmp_path / "*")
    assert names(find_sources([word], tmp_path)[0]) == [f"photo{suffix}"]
    assert names(find_sources([str(tmp_path)], tmp_path)[0]) == [f"photo{suffix}"]
    # Elsewhere, or named on its own, it is a picture like any other.
    assert len(find_sources([word], tmp_path / "out")[0]) == 3
    assert len(find_sources([str(tmp_path / f"photo-2{suffix}")], tmp_path)[0]) == 1


def test_a_folder_of_results_alone_says_so(tmp_path: Path) -> None:
    write_picture(tmp_path / "drawn.png", np.zeros((8, 8, 3), np.uint8))
    sources, (problem,) = find_sources([str(tmp_path)], tmp_path)
    assert sources == []
    assert "no picture that can be taken" in problem


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read(folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0)
    sources, (problem,) = find_sources([str(locked), str(folder / "b.jpg")])
    assert names(sources) == ["b.jpg"]
    assert "Permission denied" in problem


def test_the_pictures_of_an_option(folder: Path) -> None:
    assert [path.name for path in find_pictures(folder)] == ["a.PNG", "b.jpg"]
    with pytest.raises(OptionError, match="--images: there is no file or folder"):
        find_pictures(folder / "gone")
