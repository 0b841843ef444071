"""Pyramids of tiles: a zoom becomes sheets, whatever the tiles are kept in."""

import cv2
import numpy as np
import pytest
from tests.imagery.made import (
    BERLIN,
    info,
    mbtiles,
    pmtiles,
    telling,
    tiles_around,
    whole,
    xyz_folder,
)

from crossview.errors import BadImagery, InvalidValue
from crossview.geo.points import LatLon
from crossview.imagery.sources import open_sources
from crossview.imagery.tile_archives import decode_tile

MAKERS = {
    "xyz": lambda folder, tiles: xyz_folder(folder / "xyz", tiles, 18),
    "mbtiles": lambda folder, tiles: mbtiles(
        folder / "a.mbtiles", tiles, 18, format="png", attribution="(c) Map", date="2020"
    ),
    "pmtiles": lambda folder, tiles: pmtiles(
        folder / "a.pmtiles", tiles, 18, attribution="(c) Map", date="2020"
    ),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_tiles_become_one_sheet_at_their_place(tmp_path, make):
    tiles, grid = tiles_around(BERLIN, 18, 3)
    pixels, valid, sheet = whole(make(tmp_path, tiles))
    assert valid is None
    assert np.array_equal(pixels, telling(192, 192))
    assert np.allclose(sheet.grid.latlon(5, 7), grid.latlon(5, 7), atol=1e-12)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_missing_tile_is_no_data(tmp_path, make):
    tiles, _ = tiles_around(BERLIN, 18, 3)
    del tiles[sorted(tiles)[4]]
    pixels, valid, _ = whole(make(tmp_path, tiles))
    assert (valid[64:128, 64:128] == 0).all()
    assert (valid > 0).sum() == 8 * 64 * 64
    assert np.array_equal(pixels[:64], telling(64, 192))


@pytest.mark.parametrize("kind", ["mbtiles", "pmtiles"])
def test_an_archive_tells_attribution_and_date(tmp_path, kind):
    found = info(MAKERS[kind](tmp_path, tiles_around(BERLIN, 18, 2)[0]))
    assert (found.attribution, found.date) == ("(c) Map", "2020")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_tile_that_is_no_picture_is_named(tmp_path, make, monkeypatch):
    monkeypatch.setattr("tests.imagery.made.png", lambda pixels: b"not a picture")
    with pytest.raises(BadImagery, match="cannot be decoded"):
        whole(make(tmp_path, tiles_around(BERLIN, 18, 2)[0]))


def test_tiles_that_lie_apart_become_two_sheets(tmp_path):
    near, _ = tiles_around(BERLIN, 18, 2)
    far, _ = tiles_around(LatLon(52.6, 13.6), 18, 2)
    with open_sources([xyz_folder(tmp_path, near | far, 18)]) as imagery:
        assert [sheet.grid.width_px for sheet in imagery.sheets] == [128, 128]


def test_a_transparent_tile_has_no_data_where_it_is_clear(tmp_path):
    clear = np.dstack([telling(64, 64), np.full((64, 64), 255, np.uint8)])
    clear[:, :20, 3] = 0
    ((number, _),) = tiles_around(BERLIN, 18, 1)[0].items()
    _, valid, _ = whole(xyz_folder(tmp_path, {number: clear}, 18))
    assert (valid[:, :20] == 0).all()
    assert (valid[:, 20:] == 255).all()


def test_the_zoom_is_the_coarsest_that_is_fine_enough_or_as_asked(tmp_path):
    for zoom in (16, 17, 18):
        xyz_folder(tmp_path, tiles_around(BERLIN, zoom, 2, size=256)[0], zoom)
    assert info(tmp_path).metres_per_px == pytest.approx(0.365, rel=0.01)
    assert info(tmp_path, finest_useful_m=0.8).metres_per_px == pytest.approx(0.73, rel=0.01)
    assert info(tmp_path, finest_useful_m=0.1).metres_per_px == pytest.approx(0.365, rel=0.01)
    assert info(tmp_path, zoom=16).metres_per_px == pytest.approx(1.46, rel=0.01)
    with pytest.raises(InvalidValue, match="holds the zooms 16, 17, 18"):
        info(tmp_path, zoom=19)


@pytest.mark.parametrize("kind", ["mbtiles", "pmtiles"])
def test_a_truncated_archive_is_refused(tmp_path, kind):
    path = MAKERS[kind](tmp_path, tiles_around(BERLIN, 18, 3)[0])
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(BadImagery, match=path.name):
        whole(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_truncated_tile_is_refused(suffix):
    content = cv2.imencode(suffix, telling(256, 256))[1].tobytes()
    with pytest.raises(BadImagery, match="tile 1/2/3 cannot be decoded"):
        decode_tile(content[: len(content) // 2], "tile 1/2/3")


def test_vector_tiles_are_refused_with_the_reason(tmp_path):
    path = mbtiles(tmp_path / "a.mbtiles", {}, 14, format="pbf")
    with pytest.raises(BadImagery, match="the shapes of a map, not pictures"):
        info(path)
