"""Which of the files and folders that people name are photos."""

import pytest

from crossview.errors import BadImage
from crossview.views.decode import SUFFIXES
from crossview.views.photo_folders import find_photos, list_photos


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "holiday ünïcode [1]"
    (made / "day 2" / "@eaDir").mkdir(parents=True)
    for name in (
        "b.JPG", "a.png", "day 2/c.avif", "day 2/d.Tiff", "notes.txt", "film.mov", "raw.CR2",
        "._b.JPG", ".hidden.jpg", "Thumbs.db", "day 2/@eaDir/e.jpg", "day 2/list.csv",
    ):  # fmt: skip
        (made / name).write_bytes(b"?")
    return made


def test_photos_of_every_readable_kind_are_found_below_a_folder_and_system_files_are_not(folder):
    found = find_photos(folder)
    names = [str(path.relative_to(folder)) for path in found.photos]
    assert names == ["a.png", "b.JPG", "day 2/c.avif", "day 2/d.Tiff"]
    assert (found.films, found.others) == (2, 2)
    assert f"Left out as videos or raw files below {folder}: 2." in found.remark
    assert "Take frames of videos and develop raw files" in found.remark
    assert found.remark.endswith(f"Left out, not photos, below {folder}: 2.")
    for suffix in SUFFIXES:
        (folder / f"one{suffix}").write_bytes(b"?")
    assert len(find_photos(folder).photos) == 4 + len(SUFFIXES)


def test_a_folder_without_photos_says_what_counts_as_one(tmp_path):
    with pytest.raises(BadImage, match=r"no photos in this folder or below it \(no files\)"):
        find_photos(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"?")
    with pytest.raises(BadImage, match=r"(?s)\(other files: 1\).*\.jpg.*\.avif"):
        find_photos(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"?")
    with pytest.raises(BadImage, match=r"(?s)\(other files: 1\).*videos or raw files .*: 1\."):
        find_photos(tmp_path)
    with pytest.raises(BadImage, match="cannot be read"):
        find_photos(tmp_path / "absent")


def test_files_and_folders_keep_their_order_and_no_photo_of_a_folder_comes_twice(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    lone = tmp_path / "absent.jpg"
    named = [folder / "b.JPG", lone, folder, empty, folder / "day 2", folder / "notes.txt"]
    photos, remarks, problems = list_photos(named)
    assert photos == [
        folder / "b.JPG", lone, folder / "a.png", folder / "day 2/c.avif",
        folder / "day 2/d.Tiff", folder / "notes.txt",
    ]  # fmt: skip
    assert len(remarks) == 2  # of both folders
    assert ["empty" in str(problem) for problem in problems] == [True]
