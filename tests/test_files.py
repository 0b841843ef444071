"""Files are whole or absent."""

import errno
import os
import sys
from types import SimpleNamespace

import pytest

from crossview.errors import CannotWrite
from crossview.files import atomic_write, writing


def test_text_is_written_as_utf_8_and_nothing_else_is_left(tmp_path):
    atomic_write(tmp_path / "straße 東京 #1.csv", "höhe\n")
    assert [p.name for p in tmp_path.iterdir()] == ["straße 東京 #1.csv"]
    assert (tmp_path / "straße 東京 #1.csv").read_bytes() == "höhe\n".encode()


@pytest.mark.parametrize("problem", [ValueError("ours"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_no_leftovers(tmp_path, problem):
    atomic_write(tmp_path / "a.json", b"old")
    with pytest.raises(type(problem)), writing(tmp_path / "a.json") as temporary:
        temporary.write_bytes(b"half of the n")
        raise problem
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_the_temporary_file_has_the_suffix_and_the_folder_of_the_real_one(tmp_path):
    with writing(tmp_path / "map.tif") as temporary:
        assert (temporary.suffix, temporary.parent) == (".tif", tmp_path)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_a_full_or_read_only_disk_is_said_clearly(tmp_path, number, said):
    with pytest.raises(CannotWrite, match=said), writing(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_hides_the_full_disk_is_seen_through(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(CannotWrite, match="disk is full"), writing(tmp_path / "a"):
        raise OSError("write failed")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CannotWrite, match="there is no folder .*nowhere"):
        atomic_write(tmp_path / "nowhere" / "a.csv", "")


def test_a_folder_or_a_device_is_never_replaced_by_a_file(tmp_path):
    with pytest.raises(CannotWrite, match="it is a folder"):
        atomic_write(tmp_path, "")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CannotWrite, match="not an ordinary file"):
            atomic_write(tmp_path / "pipe", "")


def test_an_error_about_another_file_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "a"):
        (tmp_path / "photo.jpg").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
