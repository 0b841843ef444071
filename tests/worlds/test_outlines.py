"""Outlines of buildings: read from what people have, and drawn where they stand."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from crossview.errors import BadData, InvalidValue
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon, move_point
from crossview.worlds.outlines import Plan, draw_outlines, find_height_m, read_plans

PLACE = LatLon(60.2, 24.9)
GRID = RasterGrid.around(PLACE, 0.4, (300, 200), 12.0)


def lay_square(east_m, north_m, half_m):
    """Corners (lon, lat) of a square, closed."""
    steps = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    corners = [
        move_point(PLACE, east_m=east_m + a * half_m, north_m=north_m + b * half_m)
        for a, b in steps
    ]
    return [[corner.lon, corner.lat] for corner in corners]


def write_geojson(path, features, **more):
    content = {"type": "FeatureCollection", "features": features, **more}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def make_feature(*rings, **facts):
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {"type": "Feature", "geometry": geometry, "properties": facts}


def test_a_square_with_a_court_covers_its_cells_and_no_others(tmp_path):
    feature = make_feature(lay_square(10, 5, 12), lay_square(10, 5, 4), height=11.5)
    (plan,) = read_plans(write_geojson(tmp_path / "b.geojson", [feature]))
    drawn = draw_outlines([plan], GRID)
    column, row = np.meshgrid(np.arange(300) + 0.5, np.arange(200) + 0.5)
    lat, lon = GRID.latlon(column, row)
    # Slow and obvious: metres from the square's middle, for every cell.
    middle = move_point(PLACE, east_m=10.0, north_m=5.0)
    north = (lat - middle.lat) * 111_415.0
    east = (lon - middle.lon) * 111_415.0 * np.cos(np.radians(60.2)) * 1.0023
    far = np.maximum(np.abs(east), np.abs(north))
    clear = (np.abs(far - 12.0) > 0.6) & (np.abs(far - 4.0) > 0.6)
    inside = (far < 12.0) & (far > 4.0)
    assert ((drawn.building > 0) == inside)[clear].all()
    assert drawn.height_m.tolist() == [11.5]


@pytest.mark.parametrize(
    ("facts", "metres"),
    [
        ({"height": 12}, 12.0),
        ({"height": "12,5 m"}, 12.5),
        ({"HEIGHT": "40 ft"}, 12.192),
        ({"building:levels": "4"}, 12.4),
        ({"building:levels": "2;3"}, 6.2),
        ({"height": "tall", "levels": 3}, 9.3),
        ({"height": 0, "levels": 1}, 3.1),
        ({"name": "7"}, np.nan),
        ({"height": True}, np.nan),
        ({"height": -4}, np.nan),
    ],
)
def test_heights_are_told_in_many_ways(facts, metres):
    assert find_height_m(facts) == pytest.approx(metres, nan_ok=True)


def test_a_property_can_be_named(tmp_path):
    path = write_geojson(tmp_path / "b.json", [make_feature(lay_square(0, 0, 9), top=21, height=3)])
    assert read_plans(path, height_name="TOP")[0].height_m == 21.0
    with pytest.raises(InvalidValue, match="'eaves'"):
        read_plans(path, height_name="eaves")


def test_old_geojson_in_another_reference_system_is_placed(tmp_path):
    from pyproj import Transformer

    to_utm = Transformer.from_crs(4326, 25835, always_xy=True)
    ring = [list(to_utm.transform(*corner)) for corner in lay_square(10, 5, 12)]
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25835"}}
    old = read_plans(write_geojson(tmp_path / "old.json", [make_feature(ring)], crs=named))
    new = read_plans(write_geojson(tmp_path / "new.json", [make_feature(lay_square(10, 5, 12))]))
    assert np.allclose(old[0].rings[0], new[0].rings[0], atol=1e-7)
    with pytest.raises(BadData, match="not degrees"):
        read_plans(write_geojson(tmp_path / "nameless.json", [make_feature(ring)]))


def make_way(number, ring, **tags):
    geometry = [{"lat": lat, "lon": lon} for lon, lat in ring]
    return {"type": "way", "id": number, "geometry": geometry, "tags": tags}


def test_an_extract_of_openstreetmap_is_read_packed_or_not(tmp_path):
    outer, court = lay_square(0, 0, 14), lay_square(0, 0, 5)
    halves = [make_way(2, outer[:3]), make_way(3, outer[2:][::-1]), make_way(4, court)]
    members = [{"type": "way", "ref": way["id"]} for way in halves]
    block = {"building": "yes", "building:levels": "5"}
    elements = [
        make_way(1, lay_square(30, 0, 6), building="house", height="7"),
        make_way(9, lay_square(-30, 0, 6), highway="service"),
        *halves,
        {"type": "relation", "id": 5, "members": members, "tags": block},
    ]
    path = tmp_path / "extract.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"elements": elements}).encode()))
    plans = read_plans(path)
    assert [plan.height_m for plan in plans] == pytest.approx([7.0, 15.5])
    drawn = draw_outlines(plans, GRID)
    areas = [(drawn.building == number).sum() * 0.16 for number in (1, 2)]
    assert areas == pytest.approx([28.0**2 - 10.0**2, 12.0**2], rel=0.06)


def test_a_geopackage_is_read_with_the_extra(tmp_path):
    geopandas = pytest.importorskip("geopandas", reason="needs the package geopandas")
    from shapely.geometry import Polygon

    frame = geopandas.GeoDataFrame(
        {"levels": [3]}, geometry=[Polygon(lay_square(10, 5, 12))], crs=4326
    ).to_crs(25835)
    frame.to_file(tmp_path / "b.gpkg")
    (plan,) = read_plans(tmp_path / "b.gpkg")
    assert plan.height_m == pytest.approx(9.3)
    assert (draw_outlines([plan], GRID).building > 0).sum() * 0.16 == pytest.approx(576, rel=0.05)
    (tmp_path / "broken.gpkg").write_bytes(b"SQLite format 3\0 and nothing else")
    with pytest.raises(BadData, match=r"broken\.gpkg"):
        read_plans(tmp_path / "broken.gpkg")


def test_outlines_of_another_place_say_how_far(tmp_path):
    path = write_geojson(tmp_path / "far.json", [make_feature(lay_square(9_000, 0, 12))])
    plans = read_plans(path)
    with pytest.raises(BadData, match=r"9\.0 km"):
        draw_outlines(plans, GRID)
    assert not draw_outlines(plans, GRID, must_meet=False).building.any()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type": "FeatureCollection", "features": 3}',
        '{"type": "FeatureCollection", "features": [{"geometry": {"type": "Point"}}]}',
        '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[["a", 2]]]}}',
        '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, NaN]]]}}',
        '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [7]}}',
        '{"elements": [{"type": "way", "tags": {"building": "yes"}, "nodes": [1, 2, 3]}]}',
        '{"elements": [{"type": "way", "tags": {"building": "yes"}, "nodes": 3}]}',
        "[" * 100_000,
    ],
)
def test_files_that_hold_no_buildings_are_refused(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=r"bad\.json"):
        read_plans(path)


def test_elevations_are_no_heights_of_buildings(tmp_path):
    features = [make_feature(lay_square(30 * n, 0, 9), height=231 + n) for n in range(5)]
    with pytest.raises(BadData, match="above the ground"):
        read_plans(write_geojson(tmp_path / "sea.json", features))


def test_the_smaller_of_two_overlapping_buildings_is_seen():
    def plan(half_m, height_m):
        return Plan((np.array(lay_square(0, 0, half_m))[:, ::-1],), height_m)

    for plans in ([plan(15, 9.0), plan(4, 30.0)], [plan(4, 30.0), plan(15, 9.0)]):
        drawn = draw_outlines(plans, GRID)
        assert drawn.height_m[drawn.building[100, 150] - 1] == 30.0
        assert drawn.height_m[drawn.building[100, 150 + 25] - 1] == 9.0


def test_beyond_the_outlines_own_extent_nothing_is_known():
    """An extract that ends within the picture says nothing of the ground behind its edge."""

    def plan(east_m, north_m):
        return Plan((np.array(lay_square(east_m, north_m, 5))[:, ::-1],), 9.0)

    wide = RasterGrid.around(PLACE, 0.4, (1500, 1000), 0.0)
    corners = [plan(east, north) for east in (-900, 50) for north in (-900, 900)]
    known = draw_outlines([*corners, plan(0, 0)], wide).known
    assert known[:, :850].all()  # to 40 m east of the middle
    assert not known[:, 1050:].any()
    around = [plan(east, north) for east in (-900, 900) for north in (-900, 900)]
    assert draw_outlines([*around, plan(0, 0)], wide).known is None
