"""Polygons across longitude 180, against shapely's clipping."""

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon, box

from crossview.geo.antimeridian import build_geometry, cut_at_180, unroll_ring

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
