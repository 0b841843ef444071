"""Table, JSON lines, GeoJSON and KML."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
import shapely.geometry
from tests.maps.fakes import HOSTILE, ORIGIN, answer, place

from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, moved
from crossview.maps.geojson import to_geojson
from crossview.maps.jsonl import to_jsonl
from crossview.maps.kml import to_kml
from crossview.maps.table import to_table
from crossview.retrieval.places import Place

TRUTH = moved(ORIGIN, east_m=0, north_m=20)
KML = "{http://www.opengis.net/kml/2.2}"


def features(text, role=None):
    found = json.loads(text)["features"]
    return [f for f in found if role in (None, f["properties"]["role"])]


def test_the_table_lists_the_places_of_each_picture_in_order():
    text = to_table([answer("one.jpg", truth=TRUTH), answer("two.jpg", truth=TRUTH)])
    assert text.index("one.jpg") < text.index("-12.250000") < text.index("two.jpg")
    assert "60.500000" in text
    assert "0.900" in text
    assert "30°" in text
    assert "20.0 m" in text


def test_the_table_leaves_out_what_nobody_knows():
    text = to_table([answer(places=[place(heading_deg=None)])])
    for absent in ("heading", "error", "probability", "%"):
        assert absent not in text


def test_a_probability_is_shown_only_where_there_is_one():
    assert "73%" in to_table([answer(places=[place(probability=0.734)])])
    for known in (None, 0.734):
        line = json.loads(to_jsonl([answer(places=[place(probability=known)])]))
        assert line["places"][0].get("probability") == known


def test_markup_and_escape_codes_in_names_stay_text():
    text = to_table([answer("[red]\x1b[31mx.jpg")])
    assert "[red]\ufffd[31mx.jpg" in text


def test_the_table_keeps_to_its_width_and_names_every_warning_once():
    text = to_table([answer("long " * 30 + str(i), warnings=("beware",)) for i in range(3)])
    assert max(len(line) for line in text.split("Warning")[0].splitlines()[:8]) <= 100
    assert text.count("beware") == 1


@pytest.mark.parametrize("write", [to_table, to_jsonl, to_geojson, to_kml])
def test_no_answers_and_no_places_are_fine(write):
    assert isinstance(write([]), str)
    assert HOSTILE.split("<")[0] in write([answer("none.jpg", places=())])


def test_json_lines_hold_one_object_per_picture():
    lines = to_jsonl([answer(HOSTILE, truth=TRUTH), answer("b.jpg")]).splitlines()
    first, second = map(json.loads, lines)
    assert first["photo"] == HOSTILE.replace("\x07", "\ufffd")
    assert first["error_m"] == pytest.approx(20, abs=0.01)
    assert (second["places"][0]["lat"], second["places"][0]["lon"]) == (-12.25, 60.5)
    assert "truth" not in second
    assert "heading_deg" not in second["places"][1]
    assert second["places"][0]["footprint"]["width_m"] == 50


def test_geojson_puts_longitude_first_and_keeps_all_pictures_in_one_collection():
    text = to_geojson([answer(truth=TRUTH), answer("b.jpg")])
    places = features(text, "place")
    assert [f["properties"]["photo"] for f in places] == ["a.jpg", "a.jpg", "b.jpg", "b.jpg"]
    assert places[0]["geometry"]["coordinates"] == [60.5, -12.25]
    assert places[0]["properties"]["rank"] == 1
    assert places[0]["properties"]["assumptions"] == ["field of view assumed"]
    assert [f["geometry"]["coordinates"][0] for f in features(text, "truth")] == [60.5]


def test_footprints_are_closed_counter_clockwise_rings_around_the_place():
    outlines = features(to_geojson([answer()], footprints=True), "footprint")
    ring = outlines[0]["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert shapely.LinearRing(ring).is_ccw
    assert shapely.Polygon(ring).contains(shapely.Point(60.5, -12.25))
    assert features(to_geojson([answer()]), "footprint") == []


def test_a_footprint_across_the_antimeridian_is_cut_in_two():
    centre = LatLon(-17.0, 179.9999)
    far = Place(
        rank=1, latlon=centre, score=0.5, heading_deg=None, window=0,
        footprint=Footprint(centre, 1.0, 100, 100),
    )  # fmt: skip
    outline = features(to_geojson([answer(places=[far])], footprints=True), "footprint")[0]
    shape = shapely.geometry.shape(outline["geometry"])
    assert shape.is_valid
    assert len(shape.geoms) == 2
    assert all(part.exterior.is_ccw for part in shape.geoms)
    assert all(part.bounds[2] - part.bounds[0] < 0.001 for part in shape.geoms)


def test_kml_is_well_formed_and_escapes_names():
    root = ET.fromstring(to_kml([answer(HOSTILE, truth=TRUTH, warnings=("<b>&",))]))
    folder = root.find(f"{KML}Document/{KML}Folder")
    assert folder.findtext(f"{KML}name") == HOSTILE.replace("\x07", "\ufffd")
    points = [p.text for p in root.iter(f"{KML}coordinates")]
    assert points[0] == "60.5,-12.25"
    assert len(points) == 3
    assert root.findtext(f"{KML}Document/{KML}description") == "<b>&"


def test_kml_refers_only_to_styles_that_it_defines():
    root = ET.fromstring(to_kml([answer(truth=TRUTH)]))
    defined = {f"#{style.get('id')}" for style in root.iter(f"{KML}Style")}
    assert {url.text for url in root.iter(f"{KML}styleUrl")} <= defined


def test_json_never_holds_nan():
    broken = answer(places=[place(score=float(np.nan))])
    with pytest.raises(ValueError):
        to_jsonl([broken])
