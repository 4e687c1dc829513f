import errno
import os

import pytest

from mobileyolact.errors import MobileYolactError, OptionError
from mobileyolact.files import write_beside


def test_writes_the_whole_file_and_makes_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "out.json"
    with write_beside(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".part"  # nobody who looks for *.json finds it
        temporary.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half"), write_beside(path) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_ordinary_permissions(tmp_path):
    (tmp_path / "plain").touch()
    with write_beside(tmp_path / "out") as temporary:
        temporary.touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_followed(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    with write_beside(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_what_is_no_file_is_refused(tmp_path):
    for target in (tmp_path, os.devnull):
        with pytest.raises(OptionError, match="not a regular file"), write_beside(target):
            pass


def test_places_that_cannot_be_written_are_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(MobileYolactError, match="cannot write"),
        write_beside(tmp_path / "file" / "below") as temporary,
    ):
        temporary.touch()
    with (
        pytest.raises(MobileYolactError, match="cannot write"),
        write_beside(tmp_path / "out"),
    ):
        pass  # nothing was written, so there is nothing to rename


def test_a_full_disk_is_one_clear_error_and_other_errors_pass(tmp_path):
    with pytest.raises(MobileYolactError, match="No space"), write_beside(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), write_beside(tmp_path / "out"):
        (tmp_path / "elsewhere").read_text()
    assert list(tmp_path.iterdir()) == []
