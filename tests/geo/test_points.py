"""Longitudes are a circle; metres about a point.

Polygons across longitude 180, against shapely's clipping.
"""

import math

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon, box

from crossview.errors import InvalidValue
from crossview.geo.points import (
    EARTH_RADIUS_M,
    LatLon,
    build_geometry,
    build_lines,
    cut_at_180,
    find_lon_range,
    find_middle,
    measure_bearing_deg,
    measure_distance_m,
    measure_lon_offsets_deg,
    move_point,
    outline_sector,
    parse_latlon,
    project_to_local_m,
    reach_point,
    unroll_lon,
    unroll_ring,
    wrap_lon,
)


def test_longitudes_of_any_size_come_to_lie_between_180_west_and_180_east():
    assert wrap_lon([185.0, -185.0, 360.0, 540.5, 0.0]).tolist() == [-175.0, 175.0, 0.0, -179.5, 0]


def test_a_longitude_in_range_stays_bit_for_bit():
    lon = np.random.default_rng(0).uniform(-180, 180, 10_000)
    assert np.array_equal(wrap_lon(np.r_[lon, -180.0, 180.0]), np.r_[lon, -180.0, 180.0])


@pytest.mark.parametrize(("lon", "about", "east"), [(-179, 179, 2), (179, -179, -2), (10, 3, 7)])
def test_offsets_go_the_short_way_round(lon, about, east):
    assert measure_lon_offsets_deg(lon, about) == east


@pytest.mark.parametrize(
    ("lon", "arc"),
    [
        ([13.1, 13.5, 13.3], (13.1, 13.5)),
        ([179.9, -179.8, 179.95], (179.9, -179.8)),
        ([185.0, 186.0], (-175.0, -174.0)),
        ([-120.0, 0.0, 120.0], (-120.0, 120.0)),
        ([7.0], (7.0, 7.0)),
    ],
)
def test_the_shortest_arc_runs_from_west_to_east(lon, arc):
    assert find_lon_range(lon) == pytest.approx(arc)


@pytest.mark.parametrize("seed", range(20))
def test_the_shortest_arc_is_that_of_a_search_over_all_starts(seed):
    rng = np.random.default_rng(seed)
    lon = rng.uniform(-180, 180) + rng.uniform(0, rng.choice([5, 90, 200]), 6)
    lengths = [max((other - start) % 360.0 for other in lon) for start in lon]
    west, east = find_lon_range(lon)
    assert (east - west) % 360.0 == pytest.approx(min(lengths))


def test_unrolled_longitudes_run_on_beyond_180_and_others_are_left_alone():
    assert unroll_lon([179.5, -179.5]).tolist() == [179.5, 180.5]
    lon = np.array([13.123456789, -70.1])
    assert np.array_equal(unroll_lon(lon), lon)
    assert unroll_lon([]).size == 0


def test_the_middle_of_a_region_across_180_lies_in_it():
    middle = find_middle(np.array([-17.0, -16.0]), np.array([179.0, -178.0]))
    assert (middle.lat, middle.lon) == pytest.approx((-16.5, -179.5))


@pytest.mark.parametrize("lon", [13.4, 179.9999, -179.9999])
def test_local_metres_are_the_inverse_of_moving(lon):
    origin = LatLon(52.5, lon)
    place = move_point(origin, east_m=120.0, north_m=-30.0)
    assert np.array(project_to_local_m(origin, place.lat, place.lon)) == pytest.approx(
        [120.0, -30.0]
    )


def test_local_metres_against_the_formula_written_out():
    origin, lat, lon = LatLon(40.0, -3.0), [40.001, 39.999], [-2.998, -3.001]
    east, north = project_to_local_m(origin, lat, lon)
    for i in range(2):
        assert north[i] == pytest.approx(math.radians(lat[i] - 40.0) * EARTH_RADIUS_M)
        across = EARTH_RADIUS_M * math.cos(math.radians(40.0))
        assert east[i] == pytest.approx(math.radians(lon[i] + 3.0) * across)


def test_latitude_and_longitude_that_look_swapped_are_refused_with_the_question():
    with pytest.raises(InvalidValue, match=r"latitude 103\.8[\s\S]*Are the two swapped\?"):
        LatLon(103.8, 1.35)


def test_a_longitude_counted_to_360_is_refused_with_its_usual_name():
    with pytest.raises(InvalidValue, match="185 east is -175"):
        LatLon(-17.0, 185.0)


def test_a_degree_of_latitude_is_111_195_metres_and_a_minute_about_a_sea_mile():
    assert measure_distance_m(LatLon(10.0, 20.0), LatLon(11.0, 20.0)) == pytest.approx(
        111_195, abs=1
    )
    assert measure_distance_m(LatLon(0.0, 0.0), LatLon(1 / 60, 0.0)) == pytest.approx(
        1852, rel=1e-3
    )


@pytest.mark.parametrize("text", ["52.52,13.4", " 52.52 , 13.4 "])
def test_a_place_is_latitude_and_longitude(text):
    assert parse_latlon(text) == LatLon(52.52, 13.4)


@pytest.mark.parametrize("text", ["", "52.52", "52.52,13.4,7", "north,east", "52,52,13,40"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(InvalidValue, match=r"Write latitude and longitude.* 52\.52,13\.40"):
        parse_latlon(text)


@pytest.mark.parametrize("text", ["91,0", "0,181", "nan,0"])
def test_a_place_off_the_globe_is_refused(text):
    with pytest.raises(InvalidValue, match="must lie in"):
        parse_latlon(text)


SQUARE = [(179.0, 0.0), (181.0, 0.0), (181.0, 1.0), (179.0, 1.0), (179.0, 0.0)]


def shape(parts):
    return shapely.union_all([Polygon(part[0], part[1:]) for part in parts])


def expected(polygon):
    whole = Polygon(polygon[0], polygon[1:])
    east = shapely.affinity.translate(whole.intersection(box(180, -90, 540, 90)), -360)
    return whole.intersection(box(-180, -90, 180, 90)).union(east)


def test_a_polygon_elsewhere_stays_as_it_is():
    ring = [(13.0, 52.0), (13.1, 52.0), (13.1, 52.1), (13.0, 52.0)]
    assert build_geometry([[ring]]) == {"type": "Polygon", "coordinates": [ring]}


def test_a_polygon_beyond_180_alone_is_moved():
    (part,) = cut_at_180([[(lon + 3.0, lat) for lon, lat in SQUARE]])
    assert min(lon for lon, _ in part[0]) == -178.0


@pytest.mark.parametrize("turns", [-360.0, 0.0, 360.0])
def test_a_square_across_becomes_two_polygons(turns):
    geometry = build_geometry([[[(lon + turns, lat) for lon, lat in SQUARE]]])
    assert geometry["type"] == "MultiPolygon"
    assert shape(geometry["coordinates"]).equals(expected([SQUARE]))


@pytest.mark.parametrize("seed", range(30))
def test_ragged_polygons_with_holes_are_cut_as_shapely_clips_them(seed):
    rng = np.random.default_rng(seed)
    cells = [
        box(177.5 + i, j, 178.5 + i, j + 1)
        for i in range(6)
        for j in range(6)
        if rng.random() < 0.7
    ]
    union = shapely.affinity.rotate(shapely.union_all(cells), float(rng.uniform(0, 90)), (180, 3))
    for polygon in getattr(union, "geoms", [union]):
        oriented = shapely.geometry.polygon.orient(polygon)
        rings = [list(r.coords) for r in (oriented.exterior, *oriented.interiors)]
        parts = cut_at_180(rings)
        assert all(abs(lon) <= 180.0 for part in parts for ring in part for lon, _ in ring)
        area = sum(Polygon(part[0], part[1:]).area for part in parts)
        assert area == pytest.approx(polygon.area, abs=1e-5)
        valid = shapely.union_all([Polygon(part[0], part[1:]).buffer(0) for part in parts])
        assert valid.symmetric_difference(expected(rings)).area < 1e-4
        assert all(Polygon(part[0]).exterior.is_ccw for part in parts)


def test_a_ring_is_unrolled_to_run_on():
    assert unroll_ring([(179.5, 0.0), (-179.5, 0.0), (179.0, 1.0)]) == [
        (179.5, 0.0), (180.5, 0.0), (179.0, 1.0),
    ]  # fmt: skip


EVERYWHERE = [(0.0, 0.0), (52.5, 13.4), (-33.0, 179.9999), (71.0, -180.0), (89.9999, 20.0)]


@pytest.mark.parametrize("at", EVERYWHERE)
@pytest.mark.parametrize("bearing", [0.0, 37.0, 180.0, 299.0])
def test_a_point_is_reached_by_its_distance_and_its_bearing(at, bearing):
    origin = LatLon(*at)
    reached = reach_point(origin, bearing, 40.0)
    assert measure_distance_m(origin, reached) == pytest.approx(40.0, abs=1e-3)
    turn = measure_bearing_deg(origin, reached) - bearing
    assert abs((turn + 180.0) % 360.0 - 180.0) < 1e-2


def test_from_a_pole_every_bearing_leads_to_another_meridian():
    lons = [reach_point(LatLon(90.0, 0.0), bearing, 1000.0).lon for bearing in (180, 90, 270)]
    assert lons == pytest.approx([0.0, 90.0, -90.0])


def to_local(polygon, origin):
    """A polygon in metres about a point, for shapely."""
    parts = cut_at_180(polygon)
    rings = [np.array(part[0]) for part in parts]
    made = [
        Polygon(np.stack(project_to_local_m(origin, ring[:, 1], ring[:, 0]), axis=1))
        for ring in rings
    ]
    return shapely.union_all(made)


@pytest.mark.parametrize("at", EVERYWHERE[:4])
@pytest.mark.parametrize("width", [5.0, 65.0, 90.0, 200.0, 359.0, 360.0])
def test_a_sector_covers_its_share_of_the_circle_and_looks_along_its_bearing(at, width):
    origin = LatLon(*at)
    (ring,) = sector = outline_sector(origin, 30.0, width, 50.0)
    assert ring[0] == ring[-1]
    assert shapely.LinearRing(ring).is_ccw
    shape = to_local(sector, origin)
    assert shape.is_valid
    assert shape.area == pytest.approx(math.pi * 50.0**2 * width / 360.0, rel=0.005)
    for turn in range(-180, 180, 7):
        if abs(abs(turn) - width / 2) < 1.0:
            continue  # on its edge
        ahead = reach_point(origin, 30.0 + turn, 25.0)
        seen = shape.contains(shapely.Point(*project_to_local_m(origin, ahead.lat, ahead.lon)))
        assert seen == (abs(turn) < width / 2), turn


def test_a_sector_across_180_is_cut_there():
    (ring,) = polygon = outline_sector(LatLon(10.0, 179.9999), 90.0, 90.0, 50.0)
    assert max(lon for lon, _ in ring) > 180.0
    shape = shapely.geometry.shape(build_geometry([polygon]))
    assert shape.is_valid
    assert len(shape.geoms) == 2


@pytest.mark.parametrize("lat", [90.0, 89.9999, -89.9999, -90.0])
def test_a_circle_around_a_pole_is_closed_along_it(lat):
    polygon = outline_sector(LatLon(lat, 25.0), 0.0, 360.0, 50.0)
    shape = shapely.geometry.shape(build_geometry([polygon]))
    assert shape.is_valid
    west, south, east, north = shape.bounds
    assert (west, east) == (-180.0, 180.0)
    assert abs(south if lat < 0 else north) == 90.0
    ends = [reach_point(LatLon(lat, 25.0), turn, 30.0) for turn in range(0, 360, 20)]
    assert all(shape.covers(shapely.Point(end.lon, end.lat)) for end in ends)


@pytest.mark.parametrize("lat", [90.0, 89.9999, -90.0])
def test_a_wedge_at_a_pole_lies_on_earth(lat):
    shape = build_geometry([outline_sector(LatLon(lat, 0.0), 77.0, 90.0, 50.0)])
    parts = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
    points = [point for part in parts for ring in part for point in ring]
    assert all(-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0 for lon, lat in points)


@pytest.mark.parametrize(("width", "radius"), [(0.0, 5.0), (-1.0, 5.0), (90.0, 0.0)])
def test_a_sector_of_nothing_is_refused(width, radius):
    with pytest.raises(InvalidValue, match="above 0"):
        outline_sector(LatLon(0.0, 0.0), 0.0, width, radius)


def test_lines_are_cut_where_they_cross_180_and_nowhere_else():
    assert build_lines([[(1.0, 2.0), (3.0, 4.0)]]) == {
        "type": "LineString", "coordinates": [(1.0, 2.0), (3.0, 4.0)]
    }  # fmt: skip
    there_and_back = [(179.0, 0.0), (-179.0, 2.0), (-178.0, 2.0), (179.0, 8.0)]
    assert build_lines([there_and_back]) == {
        "type": "MultiLineString",
        "coordinates": [
            [(179.0, 0.0), (180.0, 1.0)],
            [(-180.0, 1.0), (-179.0, 2.0), (-178.0, 2.0), (-180.0, 6.0)],
            [(180.0, 6.0), (179.0, 8.0)],
        ],
    }  # fmt: skip
    on_it = build_lines([[(180.0, 0.0), (-179.0, 1.0)]])
    assert on_it == {"type": "LineString", "coordinates": [(-180.0, 0.0), (-179.0, 1.0)]}
