import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mobileyolact.contract import ClassInfo
from mobileyolact.labels.dataset import (
    CLASS_AGNOSTIC,
    Dataset,
    Label,
    Record,
    match_name,
    merge,
)

ALL = None
NONE: frozenset[int] = frozenset()


def dataset(names: dict[str, int], *exhaustive: frozenset[int] | None) -> Dataset:
    """A picture for each of ``exhaustive`` with one label of every class; names with ids."""
    classes = tuple(ClassInfo(i, name, key) for i, (name, key) in enumerate(names.items()))
    labels = tuple(Label(info.index, (0, 0, 4, 4), None) for info in classes)
    records = tuple(
        Record(i, Path(f"{i}.png"), 8, 8, labels, known) for i, known in enumerate(exhaustive)
    )
    return Dataset(classes, records, Path("-".join(names)), (f"problem of {names}",))


def indices(record: Record) -> list[int]:
    return [label.class_index for label in record.labels]


def test_classes_are_united_by_name_and_what_a_file_lacks_is_not_labelled() -> None:
    a = dataset({"dog": 18, "cell_phone": 77}, ALL, frozenset({0}))
    b = dataset({"Cell Phone": 1, "fig": 18}, ALL)
    united = merge([a, b])
    assert united.classes == (
        ClassInfo(0, "dog", 18),
        ClassInfo(1, "cell_phone", 77),
        ClassInfo(2, "fig", 78),  # 18 was taken
    )
    assert [indices(record) for record in united.records] == [[0, 1], [0, 1], [1, 2]]
    assert [record.exhaustive for record in united.records] == [{0, 1}, {0}, {1, 2}]
    assert united.source == a.source
    assert united.problems == a.problems + b.problems


def test_files_with_the_same_classes_stay_completely_labelled() -> None:
    a, b = dataset({"dog": 1, "cat": 2}, ALL), dataset({"cat": 1, "dog": 2}, ALL)
    united = merge([a, b])
    assert [record.exhaustive for record in united.records] == [ALL, ALL]
    assert indices(united.records[1]) == [1, 0]


def test_a_file_with_masks_alone_gives_no_class() -> None:
    united = merge([dataset({"dog": 1}, ALL), dataset({"object": 1}, NONE, NONE)])
    assert [info.name for info in united.classes] == ["dog"]
    assert [indices(record) for record in united.records] == [
        [0],
        [CLASS_AGNOSTIC],
        [CLASS_AGNOSTIC],
    ]
    assert [record.exhaustive for record in united.records] == [ALL, NONE, NONE]


def test_a_single_file_with_masks_alone_leaves_no_class() -> None:
    alone = merge([dataset({"object": 1}, NONE)])
    assert alone.classes == ()
    assert [indices(record) for record in alone.records] == [[CLASS_AGNOSTIC]]
    assert [record.exhaustive for record in alone.records] == [NONE]


def test_a_single_file_stays_as_it_is() -> None:
    alone = dataset({"Dog": 1, "dog": 2}, ALL, frozenset({0}))
    assert merge([alone]) is alone


@pytest.mark.parametrize(
    "other", [dataset({"object": 1}, NONE, frozenset({0})), dataset({"dog": 1}, NONE)]
)
def test_a_file_that_labels_a_class_somewhere_or_shares_one_keeps_its_classes(
    other: Dataset,
) -> None:
    united = merge([dataset({"dog": 1}, ALL), other])
    assert all(index != CLASS_AGNOSTIC for record in united.records for index in indices(record))


def test_an_exact_name_wins() -> None:
    classes = (ClassInfo(0, "Dog", 1), ClassInfo(1, "dog", 2))
    assert match_name("dog", classes) == 1
    assert match_name(" DOG", classes) == 0
    assert match_name("cat", classes) is None


def test_records_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset({"dog": 1}, ALL).records[0].width = 3  # type: ignore[misc]


def test_polygons_become_masks() -> None:
    label = Label(0, (1, 2, 5, 6), ((1, 2, 5, 2, 5, 6, 1, 6),))
    expected = np.zeros((8, 9), dtype=bool)
    expected[2:6, 1:5] = True
    assert np.array_equal(label.mask(8, 9), expected)
