"""Areas of a calibrated index as polygons."""

import json
from itertools import pairwise

import numpy as np
import pytest
import shapely
import shapely.geometry
from tests.outputs.fakes import ORIGIN, answer, place

from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.localization.answer import Area, Confidence
from crossview.outputs.geojson import outline_area, to_geojson
from crossview.outputs.text import to_table

CELL_M = 20.0


def area(cells, *, bearing=0.0, origin=ORIGIN, coverage=0.9):
    """Cells by (column, row up) of a grid whose up has a bearing."""
    turn = np.radians(bearing)
    at = [
        move_point(
            origin,
            east_m=CELL_M * (c * np.cos(turn) + r * np.sin(turn)),
            north_m=CELL_M * (r * np.cos(turn) - c * np.sin(turn)),
        )
        for c, r in cells
    ]
    return Area(
        coverage=coverage, rows=np.arange(len(cells)), km2=len(cells) * 0.0004, share=0.02,
        lat=np.array([p.lat for p in at]), lon=np.array([p.lon for p in at]), cell_m=CELL_M,
        up_bearing_deg=bearing,
    )  # fmt: skip


def confidence(*areas, **changes):
    facts = {"elsewhere": 0.1, "refused": False, "false_reject": 0.05, "kind": "panoramas",
             "n": 120, "date": "2026-11-21", **changes}  # fmt: skip
    return Confidence(areas=areas, **facts)


def ground_m2(polygons):
    unit = move_point(ORIGIN, east_m=1.0, north_m=1.0)
    scale = (unit.lon - ORIGIN.lon) * (unit.lat - ORIGIN.lat)
    return sum(shapely.geometry.Polygon(p[0], p[1:]).area for p in polygons) / scale


RING = [(c, r) for c in range(3) for r in range(3) if (c, r) != (1, 1)]


@pytest.mark.parametrize("bearing", [0.0, 1.3, -40.0])
@pytest.mark.parametrize(
    ("cells", "polygons"),
    [([(0, 0)], 1), ([(0, 0), (1, 0), (1, 1)], 1), ([(0, 0), (1, 1)], 2), (RING, 1)],
)
def test_polygons_cover_exactly_the_cells(cells, polygons, bearing):
    given = area(cells, bearing=bearing)
    found = outline_area(given)
    assert len(found) == polygons
    assert ground_m2(found) == pytest.approx(len(cells) * CELL_M**2, rel=0.01)
    for lat, lon in zip(given.lat, given.lon, strict=True):
        point = shapely.geometry.Point(lon, lat)
        assert any(shapely.geometry.Polygon(p[0], p[1:]).contains(point) for p in found)


def test_a_hole_stays_a_hole_and_rings_turn_as_geojson_demands():
    ((outer, hole),) = outline_area(area(RING))
    assert shapely.geometry.LinearRing(outer).is_ccw
    assert not shapely.geometry.LinearRing(hole).is_ccw
    assert (outer[0], hole[0]) == (outer[-1], hole[-1])


def test_a_single_cell_is_a_square_of_its_side():
    ((ring,),) = outline_area(area([(0, 0)]))
    corners = [LatLon(lat, lon) for lon, lat in ring]
    sides = [measure_distance_m(a, b) for a, b in pairwise(corners)]
    assert sides == pytest.approx([CELL_M] * 4, abs=0.05)


def test_an_area_of_nothing_has_no_outline():
    assert outline_area(area([])) == []


def test_an_area_across_180_is_cut_there_in_geojson():
    here = area([*RING, (3, 0), (4, 0)], origin=LatLon(ORIGIN.lat, 179.9997), bearing=20.0)
    there = area([*RING, (3, 0), (4, 0)], bearing=20.0)
    assert ground_m2(outline_area(here)) == pytest.approx(ground_m2(outline_area(there)), rel=1e-4)
    text = to_geojson([answer(places=[place(probability=0.8)], confidence=confidence(here))])
    (feature,) = [f for f in json.loads(text)["features"] if f["properties"]["role"] == "area"]
    parts = feature["geometry"]["coordinates"]
    lons = [lon for part in parts for ring in part for lon, _ in ring]
    assert len(parts) >= 2
    assert (min(lons), max(lons)) == (-180.0, 180.0)
    assert all(max(x for x, _ in p[0]) - min(x for x, _ in p[0]) < 1.0 for p in parts)
    assert ground_m2(parts) == pytest.approx(ground_m2(outline_area(there)), rel=1e-4)


def test_geojson_holds_the_areas_with_their_coverage():
    known = confidence(area([(0, 0)]), area(RING, coverage=0.95))
    text = to_geojson([answer(places=[place(probability=0.8)], confidence=known)])
    features = [f for f in json.loads(text)["features"] if f["properties"]["role"] == "area"]
    assert [f["properties"]["coverage"] for f in features] == [0.9, 0.95]
    assert all(shapely.geometry.shape(f["geometry"]).is_valid for f in features)
    (about, *_) = json.loads(text)["features"]
    assert about["properties"]["calibrated"]["elsewhere"] == 0.1


def test_words_tell_probability_areas_and_what_they_rest_on():
    known = confidence(area([(0, 0)]), area(RING, coverage=0.95))
    text = to_table([answer(places=[place(probability=0.834)], confidence=known)])
    assert "First place within 25 m: 83 %." in text
    assert "within 400 m² (2 % of the region) with 90 %" in text
    assert "Calibrated on 120 panoramas of this region, 2026-11-21." in text


def test_a_refused_picture_is_said_not_to_be_here_and_how_often_that_is_wrong():
    known = confidence(area([(0, 0)]), refused=True)
    text = to_table([answer(places=[place(probability=0.004)], confidence=known)])
    assert "Not in this region" in text
    assert "says so of 5 % of the photos that are" in text
    assert "less than 1 %" in text


def test_an_answer_that_is_not_calibrated_says_why():
    text = to_table([answer(unmeasured="the calibration was made on panoramas")])
    assert "Not calibrated for it: the calibration was made on panoramas." in text
