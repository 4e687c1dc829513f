import pytest
from PIL import Image

from mobileyolact.errors import LabelError
from mobileyolact.labels.check import check_labels, count_labels
from mobileyolact.labels.dataset import merge
from mobileyolact.labels.formats import read_labels


def test_counts(content, write) -> None:
    first = content["annotations"][0]
    content["annotations"] += [
        {**first, "id": 6, "iscrowd": 1},
        {**first, "id": 7, "category_id": 90, "segmentation": None},
        {**first, "id": 8, "category_id": 2},
    ]
    counts = check_labels(read_labels(write(content)))
    assert (counts.images, counts.empty_images) == (2, 1)
    assert (counts.objects, counts.masks, counts.crowds, counts.class_agnostic) == (2, 1, 1, 0)
    assert counts.per_class == {"toothbrush": 1, "car": 1}
    assert "annotation 8" in counts.problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iscrowd": 1}, "all 1 labels.*'iscrowd' 1"),
        ({"segmentation": []}, "none of the 1 labels.*'segmentation'"),
    ],
)
def test_labels_that_teach_nothing_name_the_field(content, write, change, message) -> None:
    content["annotations"][0] |= change
    with pytest.raises(LabelError, match=message):
        check_labels(read_labels(write(content)))


def test_no_annotations_at_all(content, write) -> None:
    content["annotations"] = []
    dataset = read_labels(write(content))
    assert count_labels(dataset).objects == 0
    with pytest.raises(LabelError, match="'annotations'.*2 pictures"):
        check_labels(dataset)


def test_masks_without_any_class(content, write) -> None:
    for image in content["images"]:
        image["labeled_category_ids"] = []
    masks = read_labels(write(content))
    with pytest.raises(LabelError, match="'labeled_category_ids' is empty in every picture"):
        check_labels(merge([masks]))
    content["categories"] = [{"id": 1, "name": "thing"}]
    content["annotations"][0]["category_id"] = 1
    more_masks = read_labels(write(content))
    with pytest.raises(LabelError, match="'labeled_category_ids' is empty"):
        check_labels(merge([masks, more_masks]))


def test_pictures_of_another_size_than_labelled(content, write) -> None:
    path = write(content)
    Image.new("RGB", (30, 40)).save(path.parent / "b.png")
    with pytest.raises(LabelError, match=r"1 of 2 pictures.*b\.png is 30x40.*40x30"):
        check_labels(read_labels(path))
    (path.parent / "b.png").write_bytes(b"no picture")
    with pytest.raises(LabelError, match=r"b\.png is not a readable picture"):
        check_labels(read_labels(path))
