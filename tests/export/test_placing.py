"""Files are made beside and moved when all of them are right."""

from pathlib import Path

import pytest

from mobileyolact.errors import OptionError
from mobileyolact.export.placing import deliver, workshop


@pytest.mark.parametrize("reason", [OptionError, KeyboardInterrupt])
def test_folders_that_were_made_go_again_after_an_error(
    reason: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(reason), workshop(tmp_path / "a" / "b") as folder:
        (folder / "half").write_text("of a model")
        raise reason
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(reason), workshop(tmp_path / "a") as folder:
        (tmp_path / "a" / "kept").write_text("what another step left on purpose")
        raise reason
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_nothing_is_moved_where_a_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "second" / "inside").mkdir(parents=True)
    with workshop(tmp_path) as folder:
        files = [folder / "first", folder / "second"]
        for file in files:
            file.write_text("new")
        with pytest.raises(OptionError, match="second', which is a folder"):
            deliver([[file] for file in files], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def test_the_file_to_open_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: (moved.append(a.name), replace(a, b))[1])
    with workshop(tmp_path) as folder:
        files = [folder / "model", folder / "weights", folder / "note"]
        for file in files:
            file.write_text("new")
        (places,) = deliver([files], tmp_path)
    assert moved == ["note", "weights", "model"]
    assert places == tuple(tmp_path / name for name in ("model", "weights", "note"))
    assert {path.read_text() for path in places} == {"new"}
