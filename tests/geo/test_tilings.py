"""Windows on a grid: how many, how large, where."""

import math

import numpy as np
import pyproj
import pytest

from crossview.errors import InvalidValue
from crossview.geo.grids import RasterGrid, convert_to_wkt
from crossview.geo.mercator import build_tile_grid, find_tile
from crossview.geo.points import LatLon
from crossview.imagery.windows import lay_window_rows

GEOD = pyproj.Geod(ellps="WGS84")


def utm(width, height, px=0.25):
    return RasterGrid(
        convert_to_wkt("EPSG:32633"), (px, 0.0, 500_000, 0.0, -px, 5_820_000), width, height
    )


def test_windows_reach_from_edge_to_edge():
    rows = list(lay_window_rows(utm(1000, 800), footprint_m=80.0, stride_m=20.0))
    assert (rows[0].top_px, rows[-1].top_px + rows[-1].height_px) == (0, 800)
    assert (rows[0].lefts_px[0], rows[0].lefts_px[-1] + rows[0].width_px) == (0, 1000)


def test_windows_stand_at_most_a_stride_apart():
    lefts = next(lay_window_rows(utm(1000, 800), 80.0, 23.0)).lefts_px
    gaps_m = np.diff(lefts) * 0.25
    assert gaps_m.max() <= 23.0 * 1.02
    assert gaps_m.min() >= 15.0


def test_a_picture_of_exactly_one_footprint_is_one_window():
    (row,) = lay_window_rows(RasterGrid.around(LatLon(52.5, 13.4), 0.5, (160, 160)), 80.0, 20.0)
    assert (row.top_px, row.height_px, row.width_px, list(row.lefts_px)) == (0, 160, 160, [0])


@pytest.mark.parametrize(("stride_m", "lefts"), [(176.0, [96]), (500.0, [96]), (170.0, [0, 192])])
def test_a_stride_as_long_as_the_picture_gives_one_window_in_its_middle(stride_m, lefts):
    """As a list of candidates wants it: each picture is a place, and the place is its centre."""
    picture = RasterGrid.around(LatLon(52.5, 13.4), 0.5, (352, 352))  # 176 m
    rows = list(lay_window_rows(picture, 80.0, stride_m))
    assert [row.top_px for row in rows] == lefts
    assert {tuple(row.lefts_px) for row in rows} == {tuple(lefts)}


@pytest.mark.parametrize(("pixels", "windows"), [(318, 0), (319, 1), (321, 1), (330, 2)])
def test_a_picture_too_small_for_a_window_gives_none(pixels, windows):
    rows = list(lay_window_rows(utm(pixels, 800), 80.0, 20.0))
    assert {len(row.lefts_px) for row in rows} == {windows}


def test_windows_hold_the_requested_ground_metres_at_60_degrees_north():
    x, y = (int(v) for v in find_tile(LatLon(60.0, 24.0), 18))
    grid = build_tile_grid(18, (x, y), (x + 2, y + 2), 256)
    for row in lay_window_rows(grid, 80.0, 20.0):
        columns, rows = row.centres()
        west = grid.latlon(columns - row.width_px / 2.0, rows)
        east = grid.latlon(columns + row.width_px / 2.0, rows)
        metres = GEOD.inv(west[1], west[0], east[1], east[0])[2]
        assert metres.min() >= 80.0 - 0.01
        assert metres.max() <= 80.0 + 0.31  # one pixel more at most


def test_windows_of_a_tall_web_mercator_strip_grow_towards_the_pole():
    south = find_tile(LatLon(50.0, 10.0), 12)
    north = find_tile(LatLon(60.0, 10.0), 12)
    x = int(south[0])
    grid = build_tile_grid(12, (x, int(north[1])), (x, int(south[1])), 256)
    rows = list(lay_window_rows(grid, 2000.0, 2000.0))
    ratio = math.cos(math.radians(50.0)) / math.cos(math.radians(60.0))
    assert rows[0].height_px / rows[-1].height_px == pytest.approx(ratio, rel=0.02)


def test_the_scale_belongs_to_the_middle_of_the_row():
    grid = utm(1000, 1000)
    for row in lay_window_rows(grid, 80.0, 40.0):
        ground = grid.ground(500.0, row.top_px + row.height_px / 2.0)
        assert row.right_m == pytest.approx(float(ground.right_m), rel=1e-6)


@pytest.mark.parametrize(("footprint", "stride"), [(0.0, 10.0), (80.0, 0.0), (-1.0, 5.0)])
def test_a_footprint_or_stride_of_nothing_is_refused(footprint, stride):
    with pytest.raises(InvalidValue, match="must be > 0"):
        list(lay_window_rows(utm(1000, 1000), footprint, stride))
