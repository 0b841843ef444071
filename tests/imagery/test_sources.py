"""Sources: what they say of themselves, and what is refused."""

import json

import cv2
import numpy as np
import pytest
from tests.imagery.georeferenced import (
    draw_positions,
    geotiff,
    info,
    read_only_sheet,
    read_position,
)

from crossview.errors import BadImagery, NotGeoreferenced
from crossview.imagery.provenance import ImageryInfo
from crossview.imagery.sources import is_grey, open_sources


@pytest.mark.parametrize("name", ["a.mbtiles", "a.pmtiles", "a.tif", "a.jp2", "a.jpg", "a.csv"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 50])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadImagery, match=name):
        info(tmp_path / name)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_truncated_picture_is_refused(tmp_path, suffix):
    content = cv2.imencode(suffix, draw_positions(400, 400))[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(content[: len(content) // 2])
    (tmp_path / "a.csv").write_text(f"file,lat,lon,metres_per_px\na{suffix},60.17,24.94,0.5\n")
    with pytest.raises(BadImagery, match=f"a{suffix} cannot be read"):
        read_only_sheet(tmp_path / "a.csv")


def test_the_folder_of_a_world_is_its_map_not_its_photos(tmp_path):
    geotiff(
        tmp_path / "aerial.tif", draw_positions(60, 60), tags={"CROSSVIEW_SYNTHETIC": "town 12"}
    )
    cv2.imwrite(str(tmp_path / "sheet.png"), draw_positions(60, 60))
    (tmp_path / "places.csv").write_text("file,lat,lon,heading_deg,fov_deg,kind\nx.jpg,1,2,0,9,p\n")
    with open_sources([tmp_path]) as imagery:
        assert [path.name for path in imagery.ignored] == ["sheet.png"]
        assert imagery.info.synthetic == "town 12"


def test_a_folder_without_imagery_says_what_is_expected(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(BadImagery, match="an XYZ folder"):
        info(tmp_path)


def test_a_geotiff_without_a_place_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), draw_positions(60, 60))
    with pytest.raises(NotGeoreferenced, match="world file"):
        info(tmp_path / "a.tif")


def test_tags_tell_attribution_and_date_and_options_overrule_them(tmp_path):
    tags = {"TIFFTAG_COPYRIGHT": "(c) City", "TIFFTAG_DATETIME": "2024:06:18 12:00:00"}
    path = geotiff(tmp_path / "a.tif", draw_positions(60, 60), tags=tags)
    assert (info(path).attribution, info(path).date) == ("(c) City", "2024-06-18")
    overruled = info(path, attribution="(c) Me", date="May 2026")
    assert (overruled.attribution, overruled.date) == ("(c) Me", "May 2026")


def test_the_signature_changes_with_the_file(tmp_path):
    before = info(geotiff(tmp_path / "a.tif", draw_positions(60, 60)))
    assert info(tmp_path / "a.tif") == before
    geotiff(tmp_path / "a.tif", draw_positions(60, 61))
    assert info(tmp_path / "a.tif").signature != before.signature


def test_what_an_index_remembers_survives_json(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(60, 60).astype(np.uint16))
    before = info(path, bands=(3, 2, 1), stretch=(1.0, 99.0))

    assert ImageryInfo.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_bounds_hold_every_pixel(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(60, 60))
    south, west, north, east = info(path).bounds
    _, _, sheet = read_only_sheet(path)
    lat, lon = sheet.grid.latlon([0, 60, 0, 60], [0, 0, 60, 60])
    assert (south, north) == (pytest.approx(lat.min()), pytest.approx(lat.max()))
    assert (west, east) == (pytest.approx(lon.min()), pytest.approx(lon.max()))


def test_told_is_the_inverse_of_telling():
    assert read_position(draw_positions(700, 900)[650, 870]) == (870, 650)


def stripes(height=300, width=300, tint=0):
    """Greys [H, W, 3] that differ from row to row; ``tint`` more of red."""
    rows = np.arange(height, dtype=np.uint8)[:, None, None] % 128
    return np.broadcast_to(rows, (height, width, 3)) + np.array([tint, 0, 0], np.uint8)


def test_imagery_without_colour_is_told_from_imagery_with_little(tmp_path):
    def judge(pixels, name="a.tif", **profile):
        with open_sources([geotiff(tmp_path / name, pixels, **profile)]) as imagery:
            return is_grey(imagery)

    assert judge(stripes()[..., 0])
    assert judge(stripes())
    assert judge(stripes(), compress="JPEG")
    assert judge(stripes(tint=4))  # an old print
    assert not judge(stripes(tint=20))
    corner = stripes()
    corner[:100, :100, 0] += 60
    assert not judge(corner)
    shown = np.zeros((300, 300), np.uint8)
    assert not judge(stripes(), mask=shown)  # nothing to judge by
    geotiff(tmp_path / "b.tif", stripes(tint=20), crs="EPSG:32632")
    with open_sources([tmp_path / "a.tif", tmp_path / "b.tif"]) as imagery:
        assert not is_grey(imagery)
