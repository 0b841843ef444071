"""Windows: which pixels they hold, where their pins fall, what is left out."""

import math

import numpy as np
import pyproj
import pytest
from rasterio.transform import Affine
from tests.imagery.georeferenced import (
    draw_positions,
    geotiff,
    read_position,
    tiles_around,
    xyz_folder,
)

from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon
from crossview.imagery import windows
from crossview.imagery.sheets import Box, Patch, Sheet
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import RowBuffer, Tiling, count_windows, cut_windows

GEOD = pyproj.Geod(ellps="WGS84")
TILING = Tiling(footprint_m=40.0, stride_m=10.0)


def windows_of(path, tiling=TILING, start=0):
    with open_sources([path]) as imagery:
        return [
            window._replace(pixels=window.pixels.copy())
            for window in cut_windows(imagery, tiling, start)
        ]


def metres_apart(window, lat, lon):
    return GEOD.inv(window.lon, window.lat, lon, lat)[2]


def test_a_pin_falls_on_the_centre_computed_by_hand(tmp_path):
    found = windows_of(geotiff(tmp_path / "a.tif", draw_positions(300, 400)))
    to_latlon = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    for window in found:
        column, row = read_position(window.pixels[0, 0])
        height, width = window.pixels.shape[:2]
        x = 391_000.0 + 0.5 * (column + width / 2.0)
        y = 5_820_000.0 - 0.5 * (row + height / 2.0)
        lon, lat = to_latlon.transform(x, y)
        assert metres_apart(window, lat, lon) < 1e-3


def test_up_carries_the_convergence_of_the_projection(tmp_path):
    (window, *_) = windows_of(geotiff(tmp_path / "a.tif", draw_positions(300, 400)))
    factors = pyproj.Proj("EPSG:32633").get_factors(window.lon, window.lat)
    assert window.up_bearing_deg == pytest.approx(factors.meridian_convergence, abs=1e-5)


def test_a_turned_raster_is_cut_in_its_own_rows_and_columns(tmp_path):
    turn = Affine(0.5, 0, 500_000.0, 0, -0.5, 5_820_000.0) @ Affine.rotation(30.0)
    found = windows_of(geotiff(tmp_path / "a.tif", draw_positions(300, 400), transform=turn))
    assert found[0].up_bearing_deg == pytest.approx(30.0, abs=0.01)
    assert np.array_equal(found[0].pixels, draw_positions(300, 400)[: len(found[0].pixels), :80])


def test_at_60_degrees_north_a_web_mercator_window_measures_ground_metres(tmp_path):
    tiles, grid = tiles_around(LatLon(60.0, 24.0), 18, 6, size=256)
    found = windows_of(xyz_folder(tmp_path, tiles, 18), Tiling(footprint_m=80.0, stride_m=40.0))
    nominal_m = 2.0 * math.pi * 6_378_137.0 / (256 * 2**18)
    assert found[0].metres_per_px == pytest.approx(nominal_m * 0.5, rel=4e-3)
    assert found[0].pixels.shape[1] * found[0].metres_per_px == pytest.approx(80.0, abs=0.35)
    for window in found:
        column, row = read_position(window.pixels[0, 0])
        height, width = window.pixels.shape[:2]
        lat, lon = grid.latlon(column + width / 2.0, row + height / 2.0)
        assert metres_apart(window, float(lat), float(lon)) < 1e-3


def test_pixels_of_degrees_are_made_square(tmp_path):
    degrees = Affine(8e-6, 0, 24.0, 0, -4e-6, 60.0)  # about 0.45 m both ways at 60 degrees north
    oblong = Affine(8e-6, 0, 24.0, 0, -8e-6, 60.0)
    square = windows_of(
        geotiff(tmp_path / "a.tif", draw_positions(300, 300), crs="EPSG:4326", transform=degrees)
    )
    made = windows_of(
        geotiff(tmp_path / "b.tif", draw_positions(300, 300), crs="EPSG:4326", transform=oblong)
    )
    for window in (square[0], made[0]):
        height, width = window.pixels.shape[:2]
        assert abs(height - width) <= 2
        assert width * window.metres_per_px == pytest.approx(40.0, abs=1.0)


@pytest.mark.parametrize(("stretch", "resampled"), [(1.0015, False), (1.003, True)])
def test_pixels_that_are_oblong_by_more_than_2_in_a_thousand_are_made_square(
    tmp_path, stretch, resampled
):
    grid = Affine(0.1, 0, 391_000.0, 0, -0.1 * stretch, 5_820_000.0)
    pixels = np.random.default_rng(0).integers(0, 255, (1100, 1100, 3), dtype=np.uint8)
    path = geotiff(tmp_path / "a.tif", pixels, transform=grid)
    (window, *_) = windows_of(path, Tiling(footprint_m=100.0, stride_m=100.0))
    across, down = window.pixels.shape[1], window.pixels.shape[0]
    assert (across == down) is resampled
    assert across * window.metres_per_px == pytest.approx(100.0, rel=2e-3)


def test_no_data_is_left_out_and_keeps_its_number(tmp_path):
    mask = np.full((300, 400), 255, np.uint8)
    mask[:, :150] = 0
    path = geotiff(tmp_path / "a.tif", draw_positions(300, 400), mask=mask)
    found = windows_of(path)
    assert min(read_position(window.pixels[0, 0])[0] for window in found) >= 148
    with open_sources([path]) as imagery:
        assert len(found) < count_windows(imagery, TILING)
    assert found[0].number > 0


def test_a_nodata_value_counts_as_no_data(tmp_path):
    pixels = draw_positions(300, 400) // 2 + 10
    pixels[:, 200:] = 255
    found = windows_of(geotiff(tmp_path / "a.tif", pixels, nodata=255))
    assert {window.pixels[:, -3].min() < 255 for window in found} == {True}
    assert len(found) > 0


def test_windows_of_one_single_colour_are_left_out(tmp_path):
    pixels = draw_positions(300, 400)
    pixels[:, 150:] = 7
    found = windows_of(geotiff(tmp_path / "a.tif", pixels))
    assert max(read_position(window.pixels[0, 0])[0] for window in found) < 150


def test_starting_later_gives_the_same_windows(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(300, 400))
    whole, rest = windows_of(path), windows_of(path, start=37)
    assert [w.number for w in rest] == list(range(37, len(whole)))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(whole[37:], rest, strict=True))


def test_a_wide_sheet_walked_in_strips_gives_every_window_once(tmp_path, monkeypatch):
    path = geotiff(tmp_path / "a.tif", draw_positions(300, 400))
    whole = {read_position(window.pixels[0, 0]) for window in windows_of(path)}
    monkeypatch.setattr(windows, "STRIP_PX", 130)
    strips = windows_of(path)
    assert {read_position(window.pixels[0, 0]) for window in strips} == whole
    assert len(strips) == len(whole)
    assert [window.number for window in strips] == list(range(len(strips)))


@pytest.mark.parametrize("blocks", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64}])
def test_windows_are_slices_whatever_the_files_blocks(tmp_path, blocks):
    pixels = draw_positions(700, 400)
    for window in windows_of(geotiff(tmp_path / "a.tif", pixels, compress="deflate", **blocks)):
        column, row = read_position(window.pixels[0, 0])
        height, width = window.pixels.shape[:2]
        assert np.array_equal(window.pixels, pixels[row : row + height, column : column + width])


def test_a_circle_keeps_the_windows_whose_centres_lie_in_it(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(300, 400))
    whole = windows_of(path)
    middle = LatLon(whole[50].lat, whole[50].lon)
    near = windows_of(path, Tiling(footprint_m=40.0, stride_m=10.0, near=middle, within_m=22.0))
    inside = [w for w in whole if metres_apart(w, middle.lat, middle.lon) <= 22.0 * 1.001]
    assert {(w.lat, w.lon) for w in near} == {(w.lat, w.lon) for w in inside}
    assert 5 < len(near) < 25


def test_a_south_up_raster_is_turned_upright(tmp_path):
    upright = windows_of(geotiff(tmp_path / "a.tif", draw_positions(300, 400)))
    flipped = Affine(0.5, 0, 391_000.0, 0, 0.5, 5_820_000.0 - 150.0)
    turned = windows_of(
        geotiff(tmp_path / "b.tif", draw_positions(300, 400)[::-1], transform=flipped)
    )
    assert np.array_equal(turned[5].pixels, upright[5].pixels)
    assert turned[5].lat == pytest.approx(upright[5].lat, abs=1e-10)


class Counted:
    """A store of telling pixels that remembers what was read; no data below row 1200."""

    block_px = (100, 100)

    def __init__(self):
        self.boxes = []

    def read(self, box):
        self.boxes.append(box)
        valid = np.full((box.height, box.width), 255, np.uint8)
        valid[max(0, 1200 - box.top) :] = 0
        pixels = draw_positions(box.height, box.width, box.top, box.left)
        return Patch(pixels, None if valid.all() else valid)


def band():
    store = Counted()
    grid = RasterGrid.around(LatLon(52.5, 13.4), 0.5, (400, 1450))
    return store, RowBuffer(Sheet("counted", grid, store), 50, 350)


def test_overlapping_rows_are_right_and_read_once():
    store, rows = band()
    for top in range(0, 1450 - 160, 40):
        pixels, valid = rows.read(top, top + 160)
        assert np.array_equal(pixels, draw_positions(160, 300, top, 50))
        slow = np.arange(top, top + 160) < 1200
        assert np.array_equal(valid[:, 0] > 0 if valid is not None else np.ones(160, bool), slow)
    assert store.boxes == [Box(top, min(top + 300, 1450), 50, 350) for top in range(0, 1450, 300)]


def test_rows_that_nobody_asks_for_are_not_read():
    store, rows = band()
    rows.read(0, 160)
    assert np.array_equal(rows.read(1000, 1160).pixels, draw_positions(160, 300, 1000, 50))
    assert store.boxes == [Box(0, 300, 50, 350), Box(900, 1200, 50, 350)]
