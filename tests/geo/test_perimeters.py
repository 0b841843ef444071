"""Search areas: GeoJSON of strangers, and what lies inside of it."""

import json
import math
import time

import numpy as np
import pytest
import shapely
import shapely.geometry
from shapely.geometry import Polygon, box

from crossview.errors import BadData, InvalidValue
from crossview.geo.perimeters import MOST_CORNERS, parse_box, parse_perimeter, read_perimeter
from crossview.geo.points import EARTH_RADIUS_M

SQUARE = [[13.0, 52.0], [13.2, 52.0], [13.2, 52.1], [13.0, 52.1], [13.0, 52.0]]
HOLE = [[13.05, 52.02], [13.05, 52.05], [13.1, 52.05], [13.1, 52.02], [13.05, 52.02]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def feature(geometry):
    return {"type": "Feature", "properties": {"name": "x"}, "geometry": geometry}


def inside(area, *places):
    lat, lon = np.array(places, float).T
    return area.contains(lat, lon).tolist()


@pytest.mark.parametrize(
    "content",
    [
        polygon(SQUARE, HOLE),
        polygon(SQUARE[::-1], HOLE[::-1]),
        {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE]]},
        feature(polygon(SQUARE, HOLE)),
        {"type": "FeatureCollection", "features": [feature(polygon(SQUARE, HOLE)), feature(None)]},
        json.dumps(polygon(SQUARE, HOLE)),
        polygon([[*corner, 34.5] for corner in SQUARE], HOLE),
    ],
)
def test_a_polygon_holds_what_is_inside_and_not_what_is_in_its_hole(content):
    area = parse_perimeter(content)
    assert inside(area, (52.01, 13.01), (52.03, 13.07), (52.2, 13.1), (13.01, 52.01)) == [
        True, False, False, False,
    ]  # fmt: skip


def test_polygons_that_overlap_are_one_area():
    other = [[lon + 0.1, lat] for lon, lat in SQUARE]
    area = parse_perimeter({"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [other]]})
    assert inside(area, (52.03, 13.07), (52.03, 13.15), (52.03, 13.25)) == [False, True, True]


def test_a_hole_outside_of_its_polygon_takes_nothing_and_adds_nothing():
    away = [[lon + 1.0, lat] for lon, lat in HOLE]
    area = parse_perimeter(polygon(SQUARE, away))
    assert inside(area, (52.03, 13.07), (52.03, 14.07)) == [True, False]


@pytest.mark.parametrize("seed", range(20))
def test_ragged_polygons_hold_what_shapely_says(seed):
    rng = np.random.default_rng(seed)
    cells = [box(i, j, i + 1, j + 1) for i in range(8) for j in range(8) if rng.random() < 0.7]
    union = shapely.affinity.rotate(shapely.union_all(cells), float(rng.uniform(0, 90)))
    around = float(rng.choice([0.0, 150.0, 178.0]))
    shape = shapely.affinity.translate(shapely.affinity.scale(union, 0.9, 0.9), around, -4)
    shape = shapely.affinity.translate(shape.buffer(-0.01), 0, 0)
    area = parse_perimeter(shapely.geometry.mapping(shape))
    lat, lon = rng.uniform(-8, 8, 3000), rng.uniform(around - 4, around + 12, 3000)
    expected = shapely.contains_xy(shape, lon, lat)
    np.testing.assert_array_equal(area.contains(lat, (lon + 180) % 360 - 180), expected)


CUT = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]],
        [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]],
    ],
}


@pytest.mark.parametrize(
    "content",
    [
        CUT,
        polygon([[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]),
        polygon([[179, 0], [181, 0], [181, 1], [179, 1], [179, 0]]),
        polygon([[-181, 0], [-179, 0], [-179, 1], [-181, 1], [-181, 0]]),
    ],
)
def test_an_area_across_longitude_180_is_the_same_however_it_is_written(content):
    area = parse_perimeter(content)
    places = [(0.5, 179.5), (0.5, -179.5), (0.5, 178.5), (0.5, -178.5), (0.5, 0.0)]
    assert inside(area, *places) == [True, True, False, False, False]
    written = shapely.geometry.shape(area.to_geojson())
    assert written.is_valid
    assert written.equals(shapely.geometry.shape(CUT))


def test_a_ring_that_runs_back_on_itself_across_180_is_still_an_area_and_can_be_written():
    spike = [[179.9, -17], [-179.9, -17], [9, -17], [-179.9, -17], [-179.9, -16.9], [179.9, -17]]
    area = parse_perimeter(polygon(spike))
    assert inside(area, (-16.99, -179.95), (-16.99, 179.85)) == [True, False]
    assert shapely.geometry.shape(area.to_geojson()).bounds[3] == pytest.approx(-16.9)


def test_an_area_is_written_as_it_was_read_with_its_outer_ring_counter_clockwise():
    area = parse_perimeter(polygon(SQUARE[::-1], HOLE[::-1]))
    assert parse_perimeter(area.to_geojson()) == area
    shape = shapely.geometry.shape(area.to_geojson())
    assert shape.exterior.is_ccw
    assert not shape.interiors[0].is_ccw
    assert shape.equals(Polygon(SQUARE, [HOLE]))


def test_an_old_file_may_name_another_reference_system():
    ring = [[390000, 5820000], [391000, 5820000], [391000, 5821000], [390000, 5820000]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25833"}}
    area = parse_perimeter({**feature(polygon(ring)), "crs": crs})
    assert inside(area, (52.52183, 13.38902), (52.52533, 13.38153)) == [True, False]


BOWTIE = [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]
ROUND_THE_POLE = [[0, 80], [120, 80], [-120, 80], [0, 80]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (polygon(SQUARE[:-1]), "ring is open: it begins at .13.0, 52.0. and ends"),
        (polygon(SQUARE[:2]), "needs four corners"),
        (polygon([]), "needs four corners"),
        (polygon(BOWTIE), r"crosses itself near .*Fix geometries"),
        (polygon(SQUARE, BOWTIE), "crosses itself"),
        (polygon([[0, 0], [1, 1], [2, 2], [0, 0]]), "encloses nothing"),
        (polygon([[0, 0]] * 5), "encloses nothing"),
        (polygon(ROUND_THE_POLE), "round a pole"),
        (polygon([[lon + 90, lat + 80] for lon, lat in SQUARE]), r"not degrees"),
        (polygon([[52.5, 113.0], [52.6, 113.0], [52.6, 113.1], [52.5, 113.0]]), "two swapped"),
        (polygon([[390000, 5820000], [391000, 5820000], [391000, 5821000], [390000, 5820000]]),
         "not degrees.*names no reference system"),
        (polygon([[float("nan"), 1], [1, 1], [1, 0], [float("nan"), 1]]), "no number"),
        (polygon([[float("inf"), 1], [1, 1], [1, 0], [float("inf"), 1]]), "no number"),
        (polygon([["a", "b"], [1, 1], [1, 0], ["a", "b"]]), "pairs of numbers"),
        (polygon([[1], [1, 1], [1, 0], [1]]), "pairs of numbers"),
        (polygon([10**400, 1]), "pairs of numbers"),
        (polygon([[10**400, 1], [1, 1], [1, 0], [0, 0]]), "pairs of numbers"),
        (polygon("ring"), "pairs of numbers"),
        (polygon({"0": [1, 1]}), "pairs of numbers"),
        ({"type": "Polygon", "coordinates": 5}, "which is no area"),
        ({"type": "Polygon", "coordinates": []}, "an empty Polygon"),
        ({"type": "Polygon"}, "an empty Polygon"),
        ({"type": "MultiPolygon", "coordinates": []}, "an empty MultiPolygon"),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE], 5]}, "an empty MultiPolygon"),
        ({"type": "Point", "coordinates": [13, 52]}, "a geometry 'Point', which is no area"),
        ({"type": "LineString", "coordinates": SQUARE}, "'LineString'"),
        (feature({"type": "Point", "coordinates": [1, 1]}), "'Point'"),
        ({"type": "FeatureCollection", "features": [feature(polygon(SQUARE)), 7]}, "no area"),
        ({"type": "FeatureCollection", "features": [7]}, "what is no geometry"),
        ({"type": "FeatureCollection", "features": []}, "holds no polygon"),
        ({"type": "FeatureCollection", "features": [feature(None)]}, "holds no polygon"),
        ({"type": "FeatureCollection", "features": 4}, "no list"),
        ({"type": "FeatureCollection"}, "no list"),
        ({}, "a geometry 'None'"),
        ({**polygon(SQUARE), "crs": {"properties": {"name": "EPSG:123456"}}}, "is not known"),
        ("", "no GeoJSON"),
        ("[1, 2]", "not a JSON object"),
        ("{" * 100_000, "no GeoJSON"),
        ("52.5,13.4", "no GeoJSON"),
    ],
)  # fmt: skip
def test_what_is_no_area_is_refused_with_the_reason_and_what_to_write(content, said):
    with pytest.raises(InvalidValue, match=f"(?s){said}.*\n.*"):
        parse_perimeter(content)


def comb(teeth):
    """A polygon whose sides all run from south to north: the slowest to look through."""
    x = np.linspace(0.0, 1.0, teeth)
    there = [[v, float(n % 2)] for n, v in enumerate(x.tolist())]
    return polygon([*there, [1.0, 2.0], [0.0, 2.0], there[0]])


def test_a_million_corners_are_refused_at_once_and_the_most_that_are_allowed_in_seconds():
    start = time.process_time()
    with pytest.raises(InvalidValue, match=r"1,000,003 corners[\s\S]*Simplify"):
        parse_perimeter(comb(1_000_000))
    area = parse_perimeter(comb(MOST_CORNERS - 3))
    assert inside(area, (1.5, 0.5), (2.5, 0.5)) == [True, False]
    assert time.process_time() - start < 20.0


def test_a_file_that_is_no_area_is_named(tmp_path):
    path = tmp_path / "area.geojson"
    with pytest.raises(BadData, match=r"area\.geojson.*No such file"):
        read_perimeter(path)
    for content in (b"\xff\xfe\x00", b"", b"PK\x03\x04", b"<kml></kml>"):
        path.write_bytes(content)
        with pytest.raises(BadData, match=r"area\.geojson[\s\S]*GeoJSON"):
            read_perimeter(path)
    path.write_text(json.dumps(polygon(BOWTIE)))
    with pytest.raises(BadData, match=r"area\.geojson: a ring crosses itself"):
        read_perimeter(path)
    with pytest.raises(BadData, match="not an ordinary file"):
        read_perimeter(tmp_path)


def test_latitude_first_is_recognised_by_exchanging_the_two():
    area = parse_perimeter(polygon([[lat, lon] for lon, lat in SQUARE]))
    swapped = area.swap()
    assert swapped == parse_perimeter(polygon(SQUARE))
    assert parse_perimeter(polygon([[lon + 100, lat] for lon, lat in SQUARE])).swap() is None


def test_how_far_away_places_are():
    area = parse_perimeter(polygon(SQUARE))
    assert area.measure_distance_m(np.array([53.1]), np.array([13.0])) == pytest.approx(
        111_195, rel=0.01
    )


def test_a_box_is_west_south_east_north():
    area = parse_box("13.37, 52.50, 13.40, 52.52")
    lat, lon = np.array([52.51, 52.53, 52.51]), np.array([13.38, 13.38, 13.36])
    assert area.contains(lat, lon).tolist() == [True, False, False]


def test_a_box_whose_west_lies_beyond_its_east_crosses_longitude_180():
    area = parse_box("179.9,-17,-179.8,-16.9")
    lat, lon = np.full(4, -16.95), np.array([179.95, -179.85, 179.8, -179.7])
    assert area.contains(lat, lon).tolist() == [True, True, False, False]
    assert area.to_geojson()["type"] == "MultiPolygon"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("13.37,52.50,13.37,52.52", "no inside"),
        ("13.37,52.52,13.40,52.52", "no inside"),
        ("13.37,52.52,13.40,52.50", "south given as north"),
        ("13.37,52.50,13.40", "no box"),
        ("a,b,c,d", "no box"),
        ("nan,52.50,13.40,52.52", "latitude must lie"),
        ("52.50,113.37,52.52,113.40", "swapped"),
        ("13.40,52.50,13.37,52.52", "swapped"),
    ],
)
def test_what_is_no_box_is_refused(text, said):
    with pytest.raises(InvalidValue, match=said):
        parse_box(text)


def test_the_size_of_an_area_is_that_of_the_sphere():
    """A band of latitude between two meridians: R^2 times longitude times the sines' difference."""
    west, south, east, north = 13.0, 50.0, 15.0, 53.0
    height = math.sin(math.radians(north)) - math.sin(math.radians(south))
    exact = (EARTH_RADIUS_M / 1000.0) ** 2 * math.radians(east - west) * height
    assert parse_box(f"{west},{south},{east},{north}").measure_km2() == pytest.approx(exact)


def test_holes_are_no_part_of_the_size():
    ring = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
    hole = [[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 1.5], [0.5, 0.5]]
    whole = parse_perimeter({"type": "Polygon", "coordinates": [ring]}).measure_km2()
    inner = parse_perimeter({"type": "Polygon", "coordinates": [hole]}).measure_km2()
    cut = parse_perimeter({"type": "Polygon", "coordinates": [ring, hole]}).measure_km2()
    assert cut == pytest.approx(whole - inner)


@pytest.mark.parametrize("kind", [["Polygon"], {"a": 1}, 7, None])
def test_a_kind_that_is_no_word_is_no_area(kind):
    with pytest.raises(InvalidValue, match="no area"):
        parse_perimeter({"type": kind, "coordinates": []})
