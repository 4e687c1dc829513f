import pytest
from PIL import Image

from mobileyolact.labels.pictures import PictureFinder, picture_size


@pytest.mark.parametrize(
    ("labels", "picture", "name"),
    [
        ("labels.json", "a.jpg", "a.jpg"),
        ("labels.json", "images/a.jpg", "a.jpg"),
        ("labels.json", "images/a.jpg", "images/a.jpg"),
        ("labels.json", "sub/a.jpg", "sub/a.jpg"),
        ("labels.json", "sub/a.jpg", "sub\\a.jpg"),
        ("labels.json", "images/a.jpg", "C:\\data\\a.jpg"),
        ("annotations/labels.json", "images/a.jpg", "a.jpg"),
        ("annotations/instances_train2017.json", "train2017/a.jpg", "a.jpg"),
        ("annotations/train.json", "train/a.jpg", "a.jpg"),
    ],
)
def test_where_pictures_are_found(tmp_path, labels, picture, name) -> None:
    path = tmp_path / picture
    for folder in (path.parent, (tmp_path / labels).parent):
        folder.mkdir(exist_ok=True)
    path.touch()
    found = PictureFinder(tmp_path / labels, None).find(name)
    assert found is not None
    assert found.resolve() == path.resolve()


def test_each_file_of_coco_finds_the_pictures_of_its_own_split(tmp_path) -> None:
    for folder in ("annotations", "train2017", "val2017"):
        (tmp_path / folder).mkdir()
    for split in ("train2017", "val2017"):
        (tmp_path / split / "a.jpg").touch()
        found = PictureFinder(tmp_path / f"annotations/instances_{split}.json", None).find("a.jpg")
        assert found is not None
        assert found.resolve() == tmp_path / split / "a.jpg"


def test_the_given_folder_comes_first(tmp_path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for folder in (tmp_path, given):
        (folder / "a.jpg").touch()
    assert PictureFinder(tmp_path / "labels.json", given).find("a.jpg") == given / "a.jpg"


@pytest.mark.parametrize("name", ["gone.jpg", ".", "..", "a\0.jpg", "x" * 5000])
def test_odd_names_are_nowhere(tmp_path, name) -> None:
    assert PictureFinder(tmp_path / "labels.json", None).find(name) is None


def test_size_as_shown(tmp_path) -> None:
    picture = Image.new("RGB", (40, 30))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    picture.save(tmp_path / "plain.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert picture_size(tmp_path / "turned.jpg") == (30, 40)
    assert picture_size(tmp_path / "plain.png") == (40, 30)
    assert picture_size(tmp_path / "broken.jpg") is None
