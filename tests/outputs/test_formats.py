"""Table, JSON lines, GeoJSON, KML, KMZ, GPX and CSV."""

import csv
import io
import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
import shapely.geometry
from tests.outputs.fakes import HOSTILE, ORIGIN, answer, claim, place

from crossview.errors import InvalidValue, UnknownName
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, move_point
from crossview.localization.answer import Place
from crossview.outputs.formats import FORMATS, choose_format
from crossview.outputs.geojson import to_geojson
from crossview.outputs.gpx import to_gpx
from crossview.outputs.kml import to_kml, to_kmz
from crossview.outputs.records import (
    CLAIM_COLUMNS,
    COLUMNS,
    describe_answer,
    describe_place,
    explain_claim,
    make_map_link,
)
from crossview.outputs.text import to_csv, to_jsonl, to_table

TRUTH = move_point(ORIGIN, east_m=0, north_m=20)
KML = "{http://www.opengis.net/kml/2.2}"
GPX = "{http://www.topografix.com/GPX/1/1}"
EVIDENCE = "made with a model of a synthetic town; its places are not evidence"


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


def test_the_table_leaves_out_columns_without_values():
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


@pytest.mark.parametrize("name", ["long " * 30, "a[red].jpg", ":smile:.jpg", "x" * 300])
def test_the_table_keeps_names_and_addresses_whole_and_names_every_warning_once(name):
    text = to_table([answer(f"{name}{i}", warnings=("beware",)) for i in range(3)])
    for i in range(3):
        assert text.count(f"{name}{i}") >= 2, "in the table and in the remarks"
    assert text.count("https://www.openstreetmap.org/?mlat=-12.2500000&mlon=60.5000000") == 3
    assert text.count("beware") == 1


@pytest.mark.parametrize("write", [to_table, to_jsonl, to_geojson, to_kml, to_gpx, to_csv])
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
    points = [p.findtext(f"{KML}coordinates") for p in root.iter(f"{KML}Point")]
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


def test_kml_looks_along_the_heading_and_leaves_out_an_unknown_one():
    root = ET.fromstring(to_kml([answer()]))
    first, second = root.iter(f"{KML}LookAt")
    assert first.findtext(f"{KML}heading") == "30.0"
    assert second.find(f"{KML}heading") is None


def test_kml_looks_at_the_place_from_250_metres_ahead_where_the_heading_is_known_else_down():
    root = ET.fromstring(to_kml([answer()]))
    views = zip(root.iter(f"{KML}LookAt"), root.iter(f"{KML}Point"), ("60", "0"), strict=True)
    for view, pin, tilt in views:
        told = {child.tag.removeprefix(KML): child.text for child in view}
        assert (told["range"], told["tilt"]) == ("250", tilt)
        assert pin.findtext(f"{KML}coordinates") == f"{told['longitude']},{told['latitude']}"


def test_scores_have_six_digits_angles_two_and_metres_are_rounded_to_centimetres():
    known = place(score=0.12345678, heading_deg=30.12345, probability=0.123456)
    told = describe_place(known, move_point(ORIGIN, east_m=0.12345, north_m=0))
    assert (told["score"], told["heading_deg"], told["probability"]) == (0.123457, 30.12, 0.1235)
    assert told["error_m"] == 0.12
    about = describe_answer(answer(places=[known], fov_deg=64.9876, truth=TRUTH))
    assert (about["fov_deg"], about["error_m"]) == (64.99, 20.0)


def test_the_columns_are_all_that_is_known_of_a_place_and_its_photo():
    known = whole()
    names = {*describe_answer(known), *describe_place(known.places[0], TRUTH)}
    assert names == set(COLUMNS)


CLAIM = {
    "lat": -12.25, "lon": 60.5, "inside": True, "nearest_m": 12.35, "rank": 3, "windows": 8464,
    "percentile": 99.9764, "score": 0.41, "window": 7, "heading_deg": 123.46, "listed": 2,
    "probability": 0.1235, "areas": [0.95],
}  # fmt: skip
SAYS = (
    "The claimed place, -12.250000,60.500000, ranks 3 of 8,464 windows: more than 99 % of them fit "
    "worse. It is place 2 of the list. Taken within 25 m of it: 12 %. It lies in the area that "
    "holds the truth with 95 %. A high rank does not prove a place, and a low one does not "
    "disprove it."
)


def claimed():
    return answer(claim=claim(probability=0.12345, areas=(0.95,)))


def test_json_and_geojson_hold_a_claim_with_its_rank_its_window_and_a_sentence():
    told = json.loads(to_jsonl([claimed()]))["claim"]
    assert {key: told[key] for key in CLAIM} == CLAIM
    assert told["says"] == SAYS
    assert told["footprint"]["width_m"] == 50
    (feature,) = features(to_geojson([claimed()]), "claim")
    assert feature["geometry"] == {"type": "Point", "coordinates": [60.5, -12.25]}
    assert feature["properties"]["rank"] == 3
    assert "claim" not in features(to_geojson([claimed()]), "place")[0]["properties"]


def test_csv_has_columns_of_a_claim_only_where_there_is_one():
    rows = list(csv.DictReader(io.StringIO(to_csv([claimed(), answer("b.jpg")]))))
    assert list(rows[0]) == [*COLUMNS, *CLAIM_COLUMNS]
    told = [rows[0][f"claim_{name}"] for name in ("lat", "lon", "rank", "says")]
    assert told == ["-12.25", "60.5", "3", SAYS]
    assert rows[2]["claim_lat"] == ""
    assert to_csv([answer()]).partition("\n")[0] == ",".join(COLUMNS)


def test_kml_and_gpx_mark_the_claimed_place_with_what_is_known_of_it():
    root = ET.fromstring(to_kml([claimed()]))
    (mark,) = [m for m in root.iter(f"{KML}Placemark") if m.findtext(f"{KML}name") == "claim"]
    assert mark.findtext(f"{KML}Point/{KML}coordinates") == "60.5,-12.25"
    assert mark.findtext(f"{KML}description") == SAYS
    (point,) = [
        p for p in ET.fromstring(to_gpx([claimed()])) if p.findtext(f"{GPX}type") == "claimed place"
    ]
    lines = point.findtext(f"{GPX}desc").splitlines()
    assert (point.get("lat"), point.get("lon")) == ("-12.2500000", "60.5000000")
    assert "claim_rank: 3" in lines
    assert f"claim_says: {SAYS}" in lines


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("count", [1, 20])
def test_every_format_says_that_a_claim_lies_outside(name, count):
    answers = [answer(f"{n}.jpg", claim=claim(outside=True)) for n in range(count)]
    written = FORMATS[name].write(answers)
    if name == "kmz":
        written = zipfile.ZipFile(io.BytesIO(written)).read("doc.kml").decode()
    assert written.count("lies outside of this region, 5.3 km from") >= count
    assert "claim_rank" not in written or name == "csv"


@pytest.mark.parametrize("outside", [False, True])
def test_a_claim_never_stands_without_a_word_of_caution(outside):
    said = explain_claim(claim(outside=outside))
    assert ("nothing can be said of it" if outside else "does not prove") in said


def test_outside_of_all_calibrated_areas_is_said():
    assert "outside of every area" in explain_claim(claim(areas=()))


def whole():
    """An answer of which every column is known, with a warning and two assumptions."""
    return answer(
        places=[place(probability=0.7, position_sigma_m=1.5, heading_sigma_deg=0.75)],
        truth=TRUTH, warnings=(EVIDENCE,),
        assumptions=("field of view assumed", "camera held level"),
        heading_source="GPSImgDirection", heading_wanted=True,  # never both, outside of tests
    )  # fmt: skip


def columns_of(name):
    """Names under which a format tells what it knows of a place."""
    written = FORMATS[name].write([whole()])
    if name == "kmz":
        written, name = zipfile.ZipFile(io.BytesIO(written)).read("doc.kml").decode(), "kml"
    if name == "jsonl":
        record = json.loads(written)
        return {*record, *record["places"][0]}
    if name == "geojson":
        return {*features(written, "place")[0]["properties"], "lat", "lon", "truth"}
    if name == "csv":
        return set(written.partition("\n")[0].split(","))
    root = ET.fromstring(written)
    if name == "kml":
        return {data.get("name") for data in root.iter(f"{KML}Data")} | {"lat", "lon"}
    lines = root.findtext(f"{GPX}wpt/{GPX}desc").splitlines()
    told = {line.partition(": ")[0] for line in lines}
    return told | {"photo", "rank", "lat", "lon", "openstreetmap"}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"table"}))
def test_every_format_has_the_same_columns(name):
    assert columns_of(name) >= set(COLUMNS)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("places", [1, 0])
def test_every_format_carries_warnings_assumptions_and_confidence(name, places):
    told = whole() if places else answer(places=(), warnings=(EVIDENCE,))
    written = FORMATS[name].write([told])
    if name == "kmz":
        written = zipfile.ZipFile(io.BytesIO(written)).read("doc.kml").decode()
    assert EVIDENCE in written
    if places or name != "gpx":  # without a place there is no waypoint to say more
        assert "field of view assumed" in written
    if places:
        assert "No place stands out" in written
        assert make_map_link(ORIGIN) in written.replace("&amp;", "&")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_asks_for_a_heading_that_would_help_and_for_no_other(name):
    for wanted in (True, False):
        written = FORMATS[name].write([answer(heading_wanted=wanted)])
        if name == "kmz":
            written = zipfile.ZipFile(io.BytesIO(written)).read("doc.kml").decode()
        assert ("If you know which way" in written) == wanted


def test_a_table_asks_for_headings_once_however_many_photos_there_are():
    one = to_table([answer(heading_wanted=True)])
    assert one.count("--heading 120 --heading-sigma 20") == 1
    assert "If you know which way you looked, give it" in one
    for count in (2, 20):
        photos = [answer(f"{n}.jpg", heading_wanted=n > 0) for n in range(count + 1)]
        told = to_table(photos)
        assert told.count("--heading 120 --heading-sigma 20") == 1
        assert f"No heading is known of {count} photos of {count + 1}." in told


def test_kmz_is_the_kml_in_a_zip_and_the_same_every_time():
    with zipfile.ZipFile(io.BytesIO(to_kmz([answer()]))) as archive:
        assert archive.namelist() == ["doc.kml"]
        assert archive.read("doc.kml").decode() == to_kml([answer()])
    assert to_kmz([answer()]) == to_kmz([answer()])


def test_gpx_holds_a_waypoint_per_place_as_the_schema_orders_them():
    root = ET.fromstring(to_gpx([answer(HOSTILE, truth=TRUTH, warnings=("<b>&",))]))
    assert (root.tag, root.get("version"), root.get("creator")) == (f"{GPX}gpx", "1.1", "crossview")
    assert [child.tag for child in root] == [f"{GPX}metadata", *3 * [f"{GPX}wpt"]]
    assert [child.tag for child in root[0]] == [f"{GPX}name", f"{GPX}desc"]
    first = root[1]
    assert (float(first.get("lat")), float(first.get("lon"))) == (-12.25, 60.5)
    order = ("name", "desc", "link", "type")  # of the schema, of those used
    assert [child.tag for child in first] == [f"{GPX}{name}" for name in order]
    assert first.findtext(f"{GPX}name") == HOSTILE.replace("\x07", "\ufffd") + " 1"
    assert "score: 0.9" in first.findtext(f"{GPX}desc")
    assert first.find(f"{GPX}link").get("href") == make_map_link(ORIGIN)
    assert root[3].findtext(f"{GPX}type") == "truth"


def test_gpx_longitudes_lie_below_180_as_its_schema_demands():
    root = ET.fromstring(to_gpx([answer(places=[place(at=LatLon(1.0, 180.0))])]))
    assert root.find(f"{GPX}wpt").get("lon") == "-180.0000000"


def test_csv_has_a_row_per_place_and_numbers_as_numbers():
    rows = list(csv.DictReader(io.StringIO(to_csv([whole(), answer("b.jpg")]))))
    assert [(row["photo"], row["rank"]) for row in rows] == [
        ("a.jpg", "1"), ("b.jpg", "1"), ("b.jpg", "2"),
    ]  # fmt: skip
    assert float(rows[0]["lat"]) == -12.25
    assert rows[0]["warnings"] == EVIDENCE
    assert rows[0]["assumptions"] == "field of view assumed; camera held level"
    assert (rows[2]["heading_deg"], rows[2]["error_m"], rows[2]["probability"]) == ("", "", "")


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d"])
def test_no_text_of_a_csv_is_a_formula(sign):
    evil = f'{sign}HYPERLINK("http://x.invalid")'
    rows = csv.DictReader(
        io.StringIO(to_csv([answer(evil, warnings=(evil,), assumptions=(evil,))]))
    )
    for row in rows:
        for column in ("photo", "warnings", "assumptions"):
            assert row[column] == f"'{evil}"


def test_an_address_of_openstreetmap_marks_the_place_at_the_closest_zoom():
    assert make_map_link(LatLon(-12.25, 60.5)) == (
        "https://www.openstreetmap.org/?mlat=-12.2500000&mlon=60.5000000"
        "#map=19/-12.2500000/60.5000000"
    )
    assert "e-" not in make_map_link(LatLon(1e-7, -1e-7))


@pytest.mark.parametrize(("name", "path", "meant"), [
    (None, None, "table"), (None, "a.csv", "csv"), (None, "A.GPX", "gpx"), (None, "a.kmz", "kmz"),
    (None, "a.json", "geojson"), (None, "a.ndjson", "jsonl"), (None, "a.txt", "table"),
    ("csv", None, "csv"), ("csv", "places", "csv"), ("kml", "a.dat", "kml"),
    ("geojson", "a.json", "geojson"),
])  # fmt: skip
def test_the_name_or_the_ending_says_the_format(name, path, meant):
    assert choose_format(name, None if path is None else Path(path)) == meant


@pytest.mark.parametrize("path", ["a.xlsx", "a", "a.csv.bak", "a.shp", ".csv"])
def test_an_unknown_ending_is_refused_with_the_list(path):
    with pytest.raises(InvalidValue, match=r"\.csv") as told:
        choose_format(None, Path(path))
    assert all(ending in str(told.value) for one in FORMATS.values() for ending in one.endings)


def test_an_ending_and_a_format_that_disagree_are_refused_and_html_is_sent_to_its_option():
    with pytest.raises(InvalidValue, match="disagree"):
        choose_format("kml", Path("a.csv"))
    with pytest.raises(InvalidValue, match="--map map.html"):
        choose_format(None, Path("map.html"))
    with pytest.raises(UnknownName, match="gpx"):
        choose_format("gpz", None)


def test_for_many_photos_the_table_counts_how_many_rest_on_which_assumption():
    level, gps = "level camera assumed", "GPS in the file ({}) shown, not used"
    answers = [
        answer(f"{n}.jpg", assumptions=(level, gps.format(n)) if n % 2 else (level,))
        for n in range(13)
    ]
    told = to_table(answers).splitlines()
    assert "A place stands out for 13 of 13 photos." in told
    assert "Of 13 photos: level camera assumed" in told
    assert "Of 6 photos: GPS in the file shown, not used" in told
    assert "CSV, JSON lines and the map page list the assumptions of each photo." in told
    assert not any("7.jpg: " in line for line in told)
    assert any(line.startswith("7.jpg: level camera assumed") for line in
               to_table(answers[:12]).splitlines())  # fmt: skip
