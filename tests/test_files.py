"""Files are whole or absent."""

import errno
import os
import sys
from types import SimpleNamespace

import pytest

from crossview.errors import CannotWrite
from crossview.files import (
    atomic_write,
    is_apple_double,
    is_system_file,
    list_entries,
    list_files,
    list_folders,
    walk_files,
    writing,
)


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


SYSTEM_NAMES = [
    "._photo.jpg",
    ".DS_Store",
    ".hidden",
    "Thumbs.db",
    "thumbs.DB",
    "desktop.ini",
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
]


@pytest.mark.parametrize("name", SYSTEM_NAMES)
def test_what_the_system_leaves_in_folders_is_no_data(name):
    assert is_system_file(name)
    assert is_system_file(f"photos/{name}")


@pytest.mark.parametrize("name", ["_photo.jpg", "thumbs.jpg", "@home.png", "recycle", "a.b.png"])
def test_names_like_those_are_data(name):
    assert not is_system_file(name)


def test_a_folder_is_listed_in_order_without_system_files(tmp_path):
    for name in ("b.JPG", "a.jpg", "._a.jpg", "c.txt", "Thumbs.db"):
        (tmp_path / name).touch()
    for name in ("sub", "@eaDir", "folder.jpg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").touch()
    names = [path.name for path in list_entries(tmp_path)]
    assert names == ["a.jpg", "b.JPG", "c.txt", "folder.jpg", "sub"]
    assert [path.name for path in list_files(tmp_path, {".jpg"})] == ["a.jpg", "b.JPG"]
    assert [path.name for path in list_folders(tmp_path)] == ["folder.jpg", "sub"]
    below = [path.relative_to(tmp_path).as_posix() for path in walk_files(tmp_path, {".jpg"})]
    assert below == ["a.jpg", "b.JPG", "folder.jpg/x.jpg", "sub/x.jpg"]


def test_a_file_of_the_mac_about_another_is_known_by_its_first_bytes(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    assert is_apple_double(tmp_path / "a.tif")
    assert not is_apple_double(tmp_path / "b.tif")
    assert not is_apple_double(tmp_path / "missing.tif")
