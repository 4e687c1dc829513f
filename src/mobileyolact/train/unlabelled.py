"""Pictures without labels, of which only a teacher has something to say."""

from collections.abc import Sequence
from pathlib import Path

from mobileyolact.errors import LabelError
from mobileyolact.labels.dataset import Record
from mobileyolact.labels.pictures import picture_size


def read_unlabelled(
    folders: Sequence[Path], labelled: Sequence[Record]
) -> tuple[list[Record], list[str]]:
    """The pictures in ``folders`` (not in their subfolders) that are not among ``labelled``.

    Returns:
        A record without labels for each, no class of it labelled completely, sorted by name; and
        a sentence for each file that is no readable picture.

    Raises:
        LabelError: no such folder, or no picture in it.
    """
    records, problems = [], []
    taken = {record.path.resolve() for record in labelled}
    for folder in folders:
        if not folder.is_dir():
            raise LabelError(f"there is no picture folder {folder}; check --unlabelled")
        pictures = 0
        for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != "."):
            size = picture_size(path)
            if size is None:
                problems.append(f"{path} is not a readable picture")
                continue
            pictures += 1
            if path.resolve() not in taken:
                taken.add(path.resolve())
                records.append(Record(path.name, path, *size, (), frozenset()))
        if not pictures:
            raise LabelError(f"the folder {folder} holds no readable picture; check --unlabelled")
    return records, problems
