"""A raster's grid against formulae written out by hand."""

import math

import numpy as np
import pyproj
import pytest

from crossview.errors import InvalidValue, NotGeoreferenced
from crossview.geo.grids import RasterGrid, convert_to_wkt
from crossview.geo.mercator import (
    build_tile_grid,
    compute_metres_per_px,
    compute_nominal_px_m,
    find_tile,
)
from crossview.geo.points import LatLon, measure_distance_m

GEOD = pyproj.Geod(ellps="WGS84")


def utm(zone=33, east=390_000.0, north=5_820_000.0, px=0.25, size=800):
    return RasterGrid(
        convert_to_wkt(f"EPSG:{32600 + zone}"), (px, 0.0, east, 0.0, -px, north), size, size
    )


def test_places_and_pixels_are_inverse():
    lat, lon = utm().latlon([0.0, 400.5, 800.0], [0.0, 13.25, 800.0])
    columns, rows = utm().pixel(lat, lon)
    assert columns == pytest.approx([0.0, 400.5, 800.0], abs=1e-5)
    assert rows == pytest.approx([0.0, 13.25, 800.0], abs=1e-5)


def test_the_middle_of_a_picture_around_a_place_is_that_place():
    grid = RasterGrid.around(LatLon(60.17, 24.94), 0.4, (500, 300), up_bearing_deg=30.0)
    lat, lon = grid.latlon(250.0, 150.0)
    assert GEOD.inv(24.94, 60.17, float(lon), float(lat))[2] < 1e-4


def test_up_of_a_picture_around_a_place_has_the_given_bearing_and_scale():
    grid = RasterGrid.around(LatLon(60.17, 24.94), 0.4, (500, 500), up_bearing_deg=30.0)
    lat, lon = grid.latlon(250.0, 0.0)
    bearing, _, metres = GEOD.inv(24.94, 60.17, float(lon), float(lat))
    assert (bearing, metres) == (pytest.approx(30.0, abs=1e-4), pytest.approx(100.0, abs=1e-4))


def test_a_web_mercator_pixel_at_60_degrees_north_is_half_its_nominal_size():
    x, y = (int(v) for v in find_tile(LatLon(60.0, 24.0), 18))
    ground = build_tile_grid(18, (x, y), (x, y), 256).ground(128.0, 128.0)
    nominal = compute_nominal_px_m(18)
    assert compute_metres_per_px(60.0, 18) == pytest.approx(nominal / 2.0)
    assert float(ground.right_m) == pytest.approx(nominal / 2.0, rel=3.4e-3)
    assert float(ground.down_m) == pytest.approx(nominal / 2.0, rel=3.4e-3)
    assert float(ground.up_bearing_deg) == pytest.approx(0.0, abs=1e-9)


def test_a_web_mercator_pixel_agrees_with_the_geodesic_across_a_hundred_of_them():
    x, y = (int(v) for v in find_tile(LatLon(60.0, 24.0), 18))
    grid = build_tile_grid(18, (x, y), (x, y), 256)
    lat, lon = grid.latlon([78.0, 178.0], [128.0, 128.0])
    metres = GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2]
    assert float(grid.ground(128.0, 128.0).right_m) == pytest.approx(metres / 100.0, rel=1e-7)


def test_up_in_utm_bears_the_meridian_convergence():
    """Convergence = atan(tan(lon - lon0) sin(lat)) on the sphere; up turns with it."""
    grid = utm()  # about 13.4 E in zone 33, whose central meridian is 15 E
    lat, lon = grid.latlon(400.0, 400.0)
    d_lon = math.radians(float(lon) - 15.0)
    sphere = math.degrees(math.atan(math.tan(d_lon) * math.sin(math.radians(float(lat)))))
    exact = pyproj.Proj("EPSG:32633").get_factors(float(lon), float(lat)).meridian_convergence
    up = float(grid.ground(400.0, 400.0).up_bearing_deg)
    assert up == pytest.approx(exact, abs=1e-5)
    assert up == pytest.approx(sphere, abs=1e-2)
    assert up < -1.0  # west of the central meridian, grid north points west of north


def test_a_turned_grid_turns_up():
    angle = math.radians(20.0)
    a, b = 0.25 * math.cos(angle), -0.25 * math.sin(angle)
    turned = RasterGrid(convert_to_wkt("EPSG:32633"), (a, b, 5e5, b, -a, 5.8e6), 100, 100)
    assert float(turned.ground(50.0, 50.0).up_bearing_deg) == pytest.approx(20.0, abs=0.01)


def test_degrees_give_oblong_pixels_on_the_ground():
    grid = RasterGrid(convert_to_wkt("EPSG:4326"), (1e-5, 0.0, 24.0, 0.0, -1e-5, 60.0), 100, 100)
    ground = grid.ground(50.0, 50.0)
    assert float(ground.right_m) / float(ground.down_m) == pytest.approx(0.5, rel=5e-3)


def test_a_part_of_a_grid_keeps_its_places():
    part = utm().crop(100.0, 40.0, 50, 60)
    assert np.allclose(part.latlon(3.0, 4.0), utm().latlon(103.0, 44.0), atol=1e-12)


def test_a_shrunk_grid_keeps_its_places():
    assert np.allclose(utm().shrink(4).latlon(3.0, 4.5), utm().latlon(12.0, 18.0), atol=1e-12)


def test_an_unknown_system_is_refused_with_an_example():
    with pytest.raises(InvalidValue, match="EPSG:25833"):
        convert_to_wkt("EPSG:99999999")


def test_a_system_without_a_tie_to_earth_is_refused():
    with pytest.raises(NotGeoreferenced, match="not tied to a place"):
        convert_to_wkt('LOCAL_CS["site grid",UNIT["metre",1]]')


def test_coordinates_outside_of_the_projection_are_refused():
    lost = RasterGrid(convert_to_wkt("EPSG:32633"), (0.25, 0.0, 1e30, 0.0, -0.25, 1e30), 10, 10)
    with pytest.raises(NotGeoreferenced, match="--crs"):
        lost.latlon(5.0, 5.0)


def test_a_mirrored_picture_is_refused():
    with pytest.raises(InvalidValue, match="mirrors"):
        RasterGrid(convert_to_wkt("EPSG:32633"), (0.25, 0.0, 5e5, 0.0, 0.25, 5.8e6), 10, 10)


def test_tile_numbers_match_the_published_example():
    """OpenStreetMap wiki, Slippy map tilenames: 35.6590699, 139.7006793 at zoom 18."""
    x, y = find_tile(LatLon(35.6590699, 139.7006793), 18)
    assert (int(x), int(y)) == (232798, 103246)


def test_a_tile_grid_puts_a_place_where_its_tile_number_says():
    place = LatLon(-33.8568, 151.2153)
    x, y = find_tile(place, 17)
    grid = build_tile_grid(17, (int(x) - 1, int(y)), (int(x), int(y)), 512)
    column, row = grid.pixel(place.lat, place.lon)
    assert float(column) == pytest.approx((x - int(x) + 1) * 512, abs=1e-3)
    assert float(row) == pytest.approx((y - int(y)) * 512, abs=1e-3)
    lat, lon = grid.latlon(column, row)
    assert measure_distance_m(place, LatLon(float(lat), float(lon))) < 1e-3
