"""Tracks as table, CSV, GeoJSON, KML and GPX: in order of time, lost parts apart."""

import csv
import io
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import shapely.geometry
from tests.outputs.fakes import HOSTILE, track

from crossview.errors import InvalidValue, UnknownName
from crossview.geo.points import LatLon, measure_distance_m
from crossview.outputs.formats import TRACK_FORMATS, choose_format
from crossview.outputs.geojson import to_geojson_track
from crossview.outputs.gpx import to_gpx_track
from crossview.outputs.kml import to_kml_track
from crossview.outputs.records import TRACK_COLUMNS, describe_track, describe_track_point
from crossview.outputs.text import to_csv_track, to_table_track
from crossview.street.own_photos import read_tracks

GPX = "{http://www.topografix.com/GPX/1/1}"
KML = "{http://www.opengis.net/kml/2.2}"
GX = "{http://www.google.com/kml/ext/2.2}"
ALL = sorted(TRACK_FORMATS)


def renamed(name):
    """A track whose first picture, source, assumption and warning have this name."""
    given = track(assumptions=(name,), warnings=(name,), source=name)
    first, *rest = given.points
    return replace(given, points=(replace(first, photo=name), *rest))


def features(text, role):
    found = json.loads(text)["features"]
    return [f for f in found if f["properties"]["role"] == role]


def test_the_columns_are_all_that_is_known_of_a_point():
    (first, *_) = track(truth=True).points
    assert tuple(describe_track_point(first)) == TRACK_COLUMNS


def test_gpx_holds_a_segment_for_each_piece_that_was_found_with_times_and_no_lost_point():
    root = ET.fromstring(to_gpx_track(track(8, lost=(3, 4))))
    (trail,) = root.iter(f"{GPX}trk")
    segments = list(trail.iter(f"{GPX}trkseg"))
    assert [len(segment) for segment in segments] == [3, 3]
    times = [point.findtext(f"{GPX}time") for point in trail.iter(f"{GPX}trkpt")]
    assert times[0] == "2026-05-01T10:00:00.000Z"
    assert times == sorted(times)
    assert "6 of 8 points were found." in trail.findtext(f"{GPX}desc")
    first = segments[0][0]
    assert (first.get("lat"), first.get("lon")) == ("-12.2500000", "60.5000000")
    assert [child.tag.removeprefix(GPX) for child in first] == ["time", "name", "desc"]
    assert "position_sigma_m: 2.5" in first.findtext(f"{GPX}desc")
    assert "heading_deg: 90.0" in first.findtext(f"{GPX}desc")


def test_gpx_elements_stand_as_the_schema_orders_them():
    root = ET.fromstring(to_gpx_track(track(warnings=("beware",), truth=True)))
    assert [child.tag.removeprefix(GPX) for child in root] == ["metadata", "trk", "trk"]
    assert [child.tag.removeprefix(GPX) for child in root[1]] == [
        "name", "desc", "trkseg", "trkseg",
    ]  # fmt: skip
    assert root[2].findtext(f"{GPX}name") == "truth"
    assert len(root[2].find(f"{GPX}trkseg")) == 8, "lost points too have a known place"


def test_a_time_of_no_zone_is_written_without_one_and_an_unknown_one_not_at_all():
    given = track(2, lost=())
    local = [replace(p, time=datetime(2026, 5, 1, 12, 0, n)) for n, p in enumerate(given.points)]
    told = to_gpx_track(replace(given, points=tuple(local)))
    assert "<time>2026-05-01T12:00:00.000</time>" in told
    assert "<time>" not in to_gpx_track(track(times=False))


def test_gpx_is_read_back_with_its_times_and_without_a_way_across_what_was_lost(tmp_path):
    given = track(8, lost=(3, 4))
    (tmp_path / "a.gpx").write_text(to_gpx_track(given), encoding="utf-8")
    recorded = read_tracks([tmp_path / "a.gpx"])
    for point in given.points:
        found = recorded.find(point.time)
        assert (found is None) == point.lost
        if found is not None:
            assert measure_distance_m(found[0], point.latlon) < 0.02


def test_geojson_has_a_line_for_each_piece_a_gap_between_and_all_points():
    text = to_geojson_track(track(8, lost=(3, 4), truth=True))
    (line,) = features(text, "track")
    assert [len(part) for part in line["geometry"]["coordinates"]] == [3, 3]
    told = line["properties"]
    assert (told["points"], told["lost"], told["median_error_m"]) == (8, 2, 3.0)
    assert told["length_m"] == pytest.approx(4 * 9.0, abs=0.1)
    assert told["assumptions"] == ["camera held level"]
    (gap,) = features(text, "gap")
    start, end = gap["geometry"]["coordinates"]
    assert start == line["geometry"]["coordinates"][0][-1]
    assert end == line["geometry"]["coordinates"][1][0]
    points = features(text, "point")
    assert [p["properties"]["lost"] for p in points] == [n in (3, 4) for n in range(8)]
    assert points[1]["properties"]["time"] == "2026-05-01T10:00:02.000Z"
    assert points[1]["properties"]["position_sigma_m"] == 2.5
    assert len(features(text, "truth")) == 1
    assert all(shapely.geometry.shape(f["geometry"]).is_valid for f in points)


def test_a_track_across_180_is_cut_there():
    text = to_geojson_track(track(6, lost=(), at=LatLon(10.0, 179.9998)))
    (line,) = features(text, "track")
    parts = line["geometry"]["coordinates"]
    assert len(parts) == 2
    assert (parts[0][-1][0], parts[1][0][0]) == (180.0, -180.0)
    assert ET.fromstring(to_kml_track(track(6, at=LatLon(10.0, 179.9998)))) is not None


def test_kml_is_played_by_its_times_and_turns_with_the_headings():
    root = ET.fromstring(to_kml_track(track(8, lost=(3, 4))))
    pieces = list(root.iter(f"{GX}Track"))
    assert [len(list(piece.iter(f"{KML}when"))) for piece in pieces] == [3, 3]
    assert pieces[0].findtext(f"{KML}when") == "2026-05-01T10:00:00.000Z"
    assert pieces[0].findtext(f"{GX}coord") == "60.5 -12.25 0"
    assert pieces[0].findtext(f"{GX}angles") == "90.0 0 0"
    assert root.findtext(f".//{GX}interpolate") == "0"


def test_kml_marks_every_point_with_its_time_its_view_and_its_facts():
    root = ET.fromstring(to_kml_track(track(8, lost=(3, 4))))
    marks = [m for m in root.iter(f"{KML}Placemark") if m.find(f"{KML}Point") is not None]
    assert len(marks) == 8
    assert marks[2].findtext(f"{KML}TimeStamp/{KML}when") == "2026-05-01T10:00:04.000Z"
    assert marks[2].findtext(f"{KML}LookAt/{KML}heading") == "90.0"
    styles = [mark.findtext(f"{KML}styleUrl") for mark in marks]
    assert styles == ["#lost" if n in (3, 4) else "#point" for n in range(8)]
    names = {data.get("name") for data in marks[0].iter(f"{KML}Data")}
    assert names == set(TRACK_COLUMNS) - {"lat", "lon", "error_m", "truth"}


def test_kml_without_times_has_lines_instead():
    root = ET.fromstring(to_kml_track(track(8, lost=(3, 4), times=False)))
    assert list(root.iter(f"{GX}Track")) == []
    by_name = {m.findtext(f"{KML}name"): m for m in root.iter(f"{KML}Placemark")}
    assert len(list(by_name["track"].iter(f"{KML}LineString"))) == 2
    assert len(list(by_name["gap"].iter(f"{KML}LineString"))) == 1
    assert list(root.iter(f"{KML}TimeStamp")) == []


def test_kml_of_a_track_refers_only_to_styles_that_it_defines():
    root = ET.fromstring(to_kml_track(track(truth=True)))
    defined = {f"#{style.get('id')}" for style in root.iter(f"{KML}Style")}
    assert {url.text for url in root.iter(f"{KML}styleUrl")} <= defined


def test_csv_has_a_row_per_point_in_order_with_what_is_unknown_empty():
    rows = list(csv.DictReader(io.StringIO(to_csv_track(track(4, lost=(1,), times=False)))))
    assert list(rows[0]) == list(TRACK_COLUMNS)
    assert [row["lost"] for row in rows] == ["False", "True", "False", "False"]
    assert rows[0]["time"] == rows[0]["truth"] == rows[0]["error_m"] == ""


def test_the_table_says_which_points_are_lost_and_sums_up_below():
    text = to_table_track(track(4, lost=(1,), truth=True))
    lines = text.splitlines()
    assert [line.rstrip().endswith("lost") for line in lines[3:7]] == [False, True, False, False]
    assert "3 of 4 points were found." in text
    assert "Half of them are known to 2.5 m or better" in text
    assert "Median error 3.0 m; within 25 m: 100 %." in text
    assert "camera held level" in text


@pytest.mark.parametrize("name", sorted(set(ALL) - {"csv"}))
def test_pictures_that_show_something_else_are_counted_and_lost_ones_are_none(name):
    given = track(6, lost=(0,))
    fits = (0.0, 0.49, 0.51, 0.9, 0.2, 1.0)
    points = (replace(p, fits=each) for p, each in zip(given.points, fits, strict=True))
    told = TRACK_FORMATS[name](replace(given, points=tuple(points)))
    assert "2 pictures probably show something else" in told
    assert "show something else" not in TRACK_FORMATS[name](track(6))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("count", [1, 3])
def test_a_track_that_is_lost_all_the_way_is_said_to_be(name, count):
    told = TRACK_FORMATS[name](track(count, lost=range(count)))
    if name != "csv":
        assert f"None of {count} points was found" in told
    if name == "geojson":
        assert features(told, "track")[0]["geometry"] is None
    if name == "gpx":
        assert "<trkpt" not in told


@pytest.mark.parametrize("name", ALL)
def test_a_track_of_one_point_is_no_line_but_a_point(name):
    told = TRACK_FORMATS[name](track(1, lost=()))
    assert "-12.25" in told
    assert '"LineString"' not in told


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_known_of_a_heading_is_left_out(name):
    given = track(3, lost=())
    points = (replace(p, heading_deg=None, heading_sigma_deg=None) for p in given.points)
    told = TRACK_FORMATS[name](replace(given, points=tuple(points)))
    assert "None" not in told
    assert "heading_deg" not in told.partition("\n")[2] or name == "csv"


@pytest.mark.parametrize("name", ALL)
def test_hostile_names_stay_text(name):
    told = TRACK_FORMATS[name](renamed(HOSTILE))
    shown = HOSTILE.replace("\x07", "\ufffd")
    if name == "geojson":
        assert features(told, "point")[0]["properties"]["photo"] == shown
    elif name in ("gpx", "kml"):
        assert shown in {element.text for element in ET.fromstring(told).iter()}
    elif name == "csv":
        assert next(csv.DictReader(io.StringIO(told)))["photo"] == shown
    else:
        assert "\x07" not in told


def test_a_name_that_a_spreadsheet_would_run_is_defused():
    assert "'=cmd" in to_csv_track(renamed("=cmd"))


def test_formats_of_tracks_are_chosen_by_name_or_ending_and_others_refused():
    assert choose_format(None, Path("a.gpx"), TRACK_FORMATS) == "gpx"
    assert choose_format(None, None, TRACK_FORMATS) == "table"
    with pytest.raises(UnknownName):
        choose_format("kmz", None, TRACK_FORMATS)
    with pytest.raises(InvalidValue, match=r"no format has the ending \.kmz") as refused:
        choose_format(None, Path("a.kmz"), TRACK_FORMATS)
    assert ".gpx" in str(refused.value)
    assert ".jsonl" not in str(refused.value)


def test_a_track_is_as_long_as_its_pieces():
    assert describe_track(track(5, lost=(), step_m=20.0))["length_m"] == pytest.approx(80, abs=0.1)
    assert describe_track(track(5, lost=(0, 1, 2, 3)))["length_m"] == 0.0
