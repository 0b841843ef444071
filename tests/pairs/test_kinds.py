"""Panoramas and photos of one's own: what the table says, else the file, else the shape."""

import numpy as np
import pytest
from PIL import Image

from crossview.catalogue import open_data
from crossview.cli import main
from crossview.datasets.pair_lists import load, load_with_notes
from crossview.errors import BadData

FOCAL_35_MM = 0xA405


def picture(path, width, height, *, focal_mm=None):
    exif = Image.Exif()
    if focal_mm:
        exif.get_ifd(0x8769)[FOCAL_35_MM] = focal_mm
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, exif=exif)


@pytest.fixture
def folder(tmp_path):
    """Two photos with a lens, two without, a panorama by its shape, a lens on that shape."""
    for name, size, focal_mm in (
        ("lens0", (80, 60), 28),
        ("lens1", (60, 80), 28),
        ("bare0", (80, 60), None),
        ("bare1", (80, 80), None),
        ("whole", (128, 64), None),
        ("drone", (128, 64), 24),
    ):
        picture(tmp_path / f"{name}.jpg", *size, focal_mm=focal_mm)
    picture(tmp_path / "a.png", 64, 64)
    return tmp_path


def table(folder, *rows, columns=""):
    text = "".join(f"{row}\n" for row in (f"ground,aerial,metres_per_px{columns}", *rows))
    (folder / "pairs.csv").write_text(text)
    return folder / "pairs.csv"


ALL = ("lens0", "lens1", "bare0", "bare1", "whole", "drone")


def test_what_no_column_tells_is_taken_from_the_files_and_told(folder):
    path = table(folder, *(f"{name}.jpg,a.png,1" for name in ALL))
    tables, notes = load_with_notes(path)
    assert tables["train"].perspective.tolist() == [True, True, True, True, False, True]
    assert notes[0] == (
        "6 ground pictures have no column kind or fov_deg of pairs.csv; their files say: "
        "1 panoramas, 5 photos (1 are panoramas by their shape alone)"
    )
    assert notes[1].startswith("2 of these photos have no field of view")
    assert open_data(f"pairs:{path}").notes == notes


def test_what_a_column_tells_is_not_looked_up(folder):
    rows = ("lens0.jpg,a.png,1,panorama,", "whole.jpg,a.png,1,,90", "bare0.jpg,a.png,1,,360")
    tables, notes = load_with_notes(table(folder, *rows, columns=",kind,fov_deg"))
    assert tables["train"].perspective.tolist() == [False, True, False]
    assert notes == ()


def test_one_picture_is_of_one_kind_in_all_its_rows(folder):
    rows = ("lens0.jpg,a.png,1,panorama", "./lens0.jpg,whole.jpg,1,")
    with pytest.raises(BadData, match="kind of ./lens0.jpg is empty, earlier it was panorama"):
        load(table(folder, *rows, columns=",kind"))


def test_a_picture_that_is_not_there_does_not_stand_in_the_way_of_the_table(folder):
    tables, notes = load_with_notes(table(folder, "gone.jpg,a.png,1"))
    assert not tables["train"].perspective.any()
    assert notes == ()


def checked(capsys, path):
    code = main(["data", "check", "pairs", "--root", str(path), "--workers", "0"])
    return code, capsys.readouterr().out


def test_the_check_finds_photos_without_a_field_of_view(folder, capsys):
    path = table(folder, *(f"{name}.jpg,a.png,1" for name in ALL))
    code, out = checked(capsys, path)
    assert code == 1
    assert "note     split train: 1 panoramas, 5 photos" in out
    assert "differs  split train: 2 photos have no field of view; add the column fov_deg: " in out
    assert f"the first {folder / 'bare0.jpg'}" in out
    assert "To correct: 1." in out
    rows = ("lens0.jpg,a.png,1,", "bare0.jpg,a.png,1,70", "whole.jpg,a.png,1,")
    code, out = checked(capsys, table(folder, *rows, columns=",fov_deg"))
    assert (code, "Nothing to correct." in out) == (0, True)


def test_the_check_finds_photos_that_a_table_calls_panoramas(folder, capsys):
    rows = [f"{name}.jpg,a.png,1,panorama" for name in ALL]
    code, out = checked(capsys, table(folder, *rows, columns=",kind"))
    assert code == 1
    assert "3 pictures are panoramas by the table, photos of one lens by their files" in out


def test_the_check_tells_of_system_files_places_and_shared_pictures(folder, capsys):
    (folder / "._lens0.jpg").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    rows = ("lens0.jpg,a.png,1,train,60,10", "whole.jpg,a.png,1,test,,")
    _, out = checked(capsys, table(folder, *rows, columns=",split,ground_lat,ground_lon"))
    assert "skipped  2 files of the system among the pictures, the first" in out
    assert "note     split test: 1 of 1 ground pictures have no place" in out
    assert "split train: 1 of 1 ground" not in out
    assert f"1 aerial pictures are in split train and in split test, the first {folder}" in out


@pytest.mark.parametrize(("places", "found"), [("60,10,60.001,10", 0), ("60,10,10,60", 1)])
def test_the_check_finds_matches_whose_places_are_nowhere_near(folder, capsys, places, found):
    columns = ",ground_lat,ground_lon,aerial_lat,aerial_lon"
    code, out = checked(capsys, table(folder, f"whole.jpg,a.png,1,{places}", columns=columns))
    assert code == found
    told = "1 matches whose two places are more than 10 km apart: the first"
    assert (told in out) is bool(found)
