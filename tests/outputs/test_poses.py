"""Where exactly and which way: what each format shows of a place's position and heading."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
import shapely.geometry
from tests.outputs.fakes import ORIGIN, answer, place

from crossview.geo.points import LatLon, project_to_local_m, reach_point
from crossview.localization.answer import Confidence
from crossview.outputs.geojson import to_geojson
from crossview.outputs.kml import to_kml
from crossview.outputs.records import describe_footprint, describe_place, describe_view
from crossview.outputs.text import to_csv, to_jsonl, to_table
from crossview.service.responses import RankedPlace

KML = "{http://www.opengis.net/kml/2.2}"
LENGTH_M = 31.0  # 0.62 of a window of 50 m
KNOWN = {"position_sigma_m": 1.234, "heading_sigma_deg": 2.345}
CALIBRATED = Confidence(
    elsewhere=0.1, refused=False, false_reject=0.05, areas=(), kind="panoramas", n=321,
    date="2026-11-21",
)  # fmt: skip


def posed(*, fov_deg=90.0, **changes):
    """An answer of one place whose position and heading are known to 1.2 m and 2.3 degrees."""
    return answer(places=[place(**{**KNOWN, **changes})], fov_deg=fov_deg)


def features(text, role):
    found = json.loads(text)["features"]
    return [f for f in found if f["properties"]["role"] == role]


def in_metres(geometry, origin=ORIGIN):
    """A shape of GeoJSON in metres about a point."""
    shape = shapely.geometry.shape(geometry)
    return shapely.transform(
        shape, lambda p: np.stack(project_to_local_m(origin, p[:, 1], p[:, 0]), axis=1)
    )


def test_json_and_csv_say_how_well_position_and_heading_are_known_and_nothing_where_they_are_not():
    told = json.loads(to_jsonl([posed()]))["places"][0]
    assert (told["position_sigma_m"], told["heading_sigma_deg"]) == (1.23, 2.35)
    told = json.loads(to_jsonl([answer()]))["places"][0]
    assert not {"position_sigma_m", "heading_sigma_deg"} & set(told)
    header, row = to_csv([posed()]).splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=False))["position_sigma_m"] == "1.23"


def test_the_table_has_a_column_for_each_only_where_it_is_known():
    _, header, _, row, *_ = to_table([posed()]).splitlines()
    assert [header.count(name) for name in ("\u00b1 m", "\u00b1 deg")] == [1, 1]
    assert row.split()[-4:] == ["0.500", "1.2", "30\u00b0", "2.4"]
    assert "\u00b1" not in to_table([answer()])


def test_a_sentence_says_what_the_sigmas_mean_and_that_they_hold_for_the_right_place_only():
    told = to_table([replace(posed(), confidence=CALIBRATED)])
    said = "If it is the right place, two of three such photos were taken within 1.2 m of its point"
    assert said in told
    assert "two of three look within 2.3 degrees of its heading." in told
    without = replace(posed(heading_deg=None, heading_sigma_deg=None), confidence=CALIBRATED)
    assert f"{said}." in to_table([without])
    assert "two of three" not in to_table([replace(answer(), confidence=CALIBRATED)])


def test_geojson_draws_the_view_as_a_wedge_from_the_place_along_its_heading():
    (view,) = features(to_geojson([posed()]), "view")
    assert view["properties"] == {
        "role": "view", "photo": "a.jpg", "rank": 1, "heading_deg": 30.0,
        "heading_sigma_deg": 2.35, "fov_deg": 90.0, "length_m": LENGTH_M,
    }  # fmt: skip
    assert view["geometry"]["type"] == "Polygon"
    (ring,) = view["geometry"]["coordinates"]
    assert tuple(ring[0]) == (ORIGIN.lon, ORIGIN.lat)
    shape = in_metres(view["geometry"])
    assert shape.is_valid
    assert shape.area == pytest.approx(math.pi * LENGTH_M**2 / 4.0, rel=0.005)
    middle = shape.centroid
    assert math.degrees(math.atan2(middle.x, middle.y)) == pytest.approx(30.0, abs=0.1)


def test_geojson_draws_a_circle_around_a_position_that_is_known_to_so_many_metres():
    (circle,) = features(to_geojson([posed()]), "uncertainty")
    assert circle["properties"] == {
        "role": "uncertainty", "photo": "a.jpg", "rank": 1, "position_sigma_m": 1.23
    }  # fmt: skip
    shape = in_metres(circle["geometry"])
    assert shape.area == pytest.approx(math.pi * 1.234**2, rel=0.03)
    assert shape.contains(shapely.Point(0, 0))


def test_a_picture_all_around_has_an_arrow_and_no_wedge():
    (view,) = features(to_geojson([posed(fov_deg=360.0)]), "view")
    assert view["geometry"]["type"] == "LineString"
    start, tip = (LatLon(lat, lon) for lon, lat in view["geometry"]["coordinates"])
    front = reach_point(ORIGIN, 30.0, LENGTH_M)
    assert start == ORIGIN
    assert (tip.lat, tip.lon) == pytest.approx((front.lat, front.lon), abs=1e-7)


@pytest.mark.parametrize("fov_deg", [90.0, 360.0])
def test_without_a_heading_nothing_is_drawn_of_the_view(fov_deg):
    given = posed(heading_deg=None, heading_sigma_deg=None, fov_deg=fov_deg)
    assert features(to_geojson([given]), "view") == []
    assert len(features(to_geojson([given]), "uncertainty")) == 1
    assert describe_view(given.places[0], fov_deg) is None
    names = [m.findtext(f"{KML}name") for m in marks(to_kml([given]))]
    assert names == ["1", "1 uncertainty"]


def test_without_a_sigma_no_circle_is_drawn():
    given = answer(places=[place()])
    assert features(to_geojson([given]), "uncertainty") == []
    assert [m.findtext(f"{KML}name") for m in marks(to_kml([given]))] == ["1", "1 view"]


@pytest.mark.parametrize("fov_deg", [65.0, 360.0])
def test_views_across_180_are_cut_there_and_stay_where_they_are(fov_deg):
    at = LatLon(-17.0, 179.99995)
    given = answer(places=[place(at=at, heading_deg=90.0, **KNOWN)], fov_deg=fov_deg)
    for role in ("view", "uncertainty"):
        (feature,) = features(to_geojson([given]), role)
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.geom_type.startswith("Multi") == (role == "view")
        assert shape.bounds[0] >= -180.0
        assert shape.bounds[2] <= 180.0
        assert in_metres(feature["geometry"], at).distance(shapely.Point(0, 0)) < 0.02
    assert "styleUrl>#view" in to_kml([given])


@pytest.mark.parametrize("lat", [89.99999, -90.0])
@pytest.mark.parametrize("fov_deg", [65.0, 360.0])
def test_poses_at_the_poles_can_be_written(lat, fov_deg):
    given = answer(places=[place(at=LatLon(lat, 10.0), **KNOWN)], fov_deg=fov_deg)
    for role in ("view", "uncertainty"):
        (feature,) = features(to_geojson([given]), role)
        west, south, east, north = shapely.geometry.shape(feature["geometry"]).bounds
        assert -180.0 <= west <= east <= 180.0
        assert -90.0 <= south <= north <= 90.0
    assert ET.fromstring(to_kml([given])) is not None


def marks(text):
    return list(ET.fromstring(text).iter(f"{KML}Placemark"))


def test_kml_draws_the_same_shapes_and_shows_those_of_the_first_place():
    two = answer(places=[place(1, **KNOWN), place(2, score=0.4, heading_deg=99.0)], fov_deg=90.0)
    by_name = {mark.findtext(f"{KML}name"): mark for mark in marks(to_kml([two]))}
    assert list(by_name) == ["1", "2", "1 view", "1 uncertainty", "2 view"]
    hidden = {name for name, m in by_name.items() if m.findtext(f"{KML}visibility") == "0"}
    assert hidden == {"2 view"}
    drawn = by_name["1 view"].findtext(f".//{KML}outerBoundaryIs//{KML}coordinates").split()
    (view, _) = features(to_geojson([two]), "view")
    (ring,) = view["geometry"]["coordinates"]
    assert drawn == [f"{lon},{lat}" for lon, lat in ring]


def test_what_pages_draw_is_the_wedge_of_the_formats_as_latitude_and_longitude():
    view = describe_view(posed().places[0], 90.0)
    (feature,) = features(to_geojson([posed()]), "view")
    assert view["length_m"] == LENGTH_M
    (ring,) = feature["geometry"]["coordinates"]
    assert [(lon, lat) for lat, lon in view["ring"]] == [tuple(point) for point in ring]
    assert describe_view(posed().places[0], 360.0)["ring"][0] != (ORIGIN.lat, ORIGIN.lon)


@pytest.mark.parametrize("fov_deg", [90.0, 360.0])
def test_the_service_takes_what_is_told_of_a_place(fov_deg):
    posed_place = posed(fov_deg=fov_deg).places[0]
    record = {
        **describe_place(posed_place, None), "footprint": describe_footprint(posed_place.footprint),
        "view": describe_view(posed_place, fov_deg),
    }  # fmt: skip
    told = RankedPlace.model_validate_json(json.dumps(record))
    assert (told.position_sigma_m, told.heading_sigma_deg) == (1.23, 2.35)
    assert told.view.length_m == LENGTH_M


def test_sigmas_have_two_digits():
    told = describe_place(place(position_sigma_m=1.23456, heading_sigma_deg=0.98765), None)
    assert (told["position_sigma_m"], told["heading_sigma_deg"]) == (1.23, 0.99)
