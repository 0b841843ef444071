"""A town's folder is whole or absent; its photos say what a camera's would, but not the place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crossview.errors import InUse, InvalidValue
from crossview.locks import lock
from crossview.views.decode import load_photo
from crossview.worlds.write import PhotoSeries, write_photo, write_world


def test_a_panorama_says_what_it_shows(tmp_path):
    write_photo(tmp_path / "p.jpg", np.zeros((64, 128, 3), np.uint8), 360.0)
    photo = load_photo(tmp_path / "p.jpg")
    assert (photo.kind, photo.fov_deg, photo.horizon_px) == ("panorama", 360.0, 32.0)
    assert photo.view_assumptions == photo.assumptions == ()
    assert photo.heading is photo.gps is None


@pytest.mark.parametrize("fov", [50.0, 90.0, 100.0])
def test_a_photo_says_its_field_of_view(tmp_path, fov):
    write_photo(tmp_path / "p.jpg", np.zeros((96, 128, 3), np.uint8), fov)
    photo = load_photo(tmp_path / "p.jpg")
    assert (photo.kind, photo.fov_deg) == ("perspective", pytest.approx(fov, abs=0.1))
    assert photo.view_assumptions == photo.assumptions == ()


def test_a_world_that_was_killed_is_begun_anew_and_another_map_is_left_alone(tmp_path):
    made = write_world(tmp_path / "town", "old", 20_000, side_m=200.0, series=(PhotoSeries(1),))
    (made.folder / "places.csv").unlink()  # as a killed command leaves it
    (made.folder / ".0123456789abcdef.partial.tif").write_bytes(b"half")
    again = write_world(tmp_path / "town", "old", 20_000, side_m=200.0, series=(PhotoSeries(1),))
    names = {p.name for p in again.folder.iterdir()}
    assert names == {"aerial.tif", "ground", "places.csv", "sheet.png"}
    written = (again.folder / "sheet.png").stat().st_mtime_ns
    same = write_world(tmp_path / "town", "old", 20_000, side_m=200.0, series=(PhotoSeries(1),))
    assert same == again  # killed just before its end, it has nothing left to do
    assert (again.folder / "sheet.png").stat().st_mtime_ns == written
    with pytest.raises(InvalidValue, match="already holds a world"):
        write_world(tmp_path / "town", "old", 20_000)
    (tmp_path / "mine").mkdir()
    for content in (
        b"II*\0",
        made.map_file.read_bytes().replace(b"CROSSVIEW_SYNTHETIC", b"X" * 19),
    ):
        (tmp_path / "mine" / "aerial.tif").write_bytes(content)
        with pytest.raises(InvalidValue, match="already holds a world"):
            write_world(tmp_path / "mine", "old", 20_000)
        assert (tmp_path / "mine" / "aerial.tif").read_bytes() == content


def test_a_folder_in_which_another_process_draws_a_town_is_refused(tmp_path):
    with lock(tmp_path / "town", "crossview world"):
        thread = ThreadPoolExecutor(1).submit(write_world, tmp_path / "town", "old", 20_000)
        with pytest.raises(InUse, match="crossview world, process"):
            thread.result()
