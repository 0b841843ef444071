"""Answers as GPX 1.1 for receivers and map programs, one waypoint per place; and tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from crossview.files import printable
from crossview.geo.points import LatLon
from crossview.localization.answer import Answer
from crossview.outputs import records

if TYPE_CHECKING:
    from crossview.localization.track import Track

_NAMESPACE = "http://www.topografix.com/GPX/1/1"
# Columns that have elements or attributes of their own.
_IN_ELEMENTS = {"photo", "rank", "lat", "lon", "openstreetmap"}


def to_gpx(answers: Iterable[Answer]) -> str:
    """Waypoints by rank; ``desc`` holds all columns of a place, a line each."""
    answers = list(answers)
    root = ET.Element("gpx", xmlns=_NAMESPACE, version="1.1", creator="crossview")
    metadata = ET.SubElement(root, "metadata")
    _add_child(metadata, "name", "crossview places")
    if warnings := records.drop_repeats(text for answer in answers for text in answer.warnings):
        _add_child(metadata, "desc", "\n".join(warnings))
    for answer in answers:
        for row in records.build_rows(answer):
            if "rank" in row:
                name = f"{row['photo']} {row['rank']}"
                _add_waypoint(root, name, row, _list_columns(row, records.COLUMNS), "place")
        if answer.prior is not None:
            row = records.describe_point(answer.prior.prior.place) | {
                "openstreetmap": records.make_map_link(answer.prior.prior.place)
            }
            name = f"{printable(answer.photo)} prior"
            _add_waypoint(root, name, row, records.explain_prior(answer.prior), "prior")
        if answer.claim is not None:
            row = records.describe_claim(answer.claim)
            text = _list_columns(records.build_claim_row(answer), records.CLAIM_COLUMNS)
            _add_waypoint(root, f"{printable(answer.photo)} claim", row, text, "claimed place")
        if answer.truth is not None:
            row = records.describe_point(answer.truth) | {
                "openstreetmap": records.make_map_link(answer.truth)
            }
            _add_waypoint(root, f"{printable(answer.photo)} truth", row, "known place", "truth")
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def to_gpx_track(track: Track) -> str:
    """A track as GPX 1.1: ``trkpt`` with times, a ``trkseg`` for each piece that is found.

    Lost points are left out, which ``desc`` says. Known places of the points are a track of
    their own, named "truth". Times without a zone are written without one.
    """
    root = ET.Element("gpx", xmlns=_NAMESPACE, version="1.1", creator="crossview")
    metadata = ET.SubElement(root, "metadata")
    _add_child(metadata, "name", "crossview track")
    facts = records.describe_track(track)
    if facts["warnings"]:
        _add_child(metadata, "desc", "\n".join(facts["warnings"]))
    trail = ET.SubElement(root, "trk")
    _add_child(trail, "name", facts["source"])
    _add_child(trail, "desc", "\n".join([records.explain_track(track), *facts["assumptions"]]))
    for piece in records.split_track(track):
        segment = ET.SubElement(trail, "trkseg")
        for point in piece:
            row = records.describe_track_point(point)
            _add_track_point(segment, point.latlon, row, row["photo"])
    if any(point.truth is not None for point in track.points):
        known = ET.SubElement(root, "trk")
        _add_child(known, "name", "truth")
        segment = ET.SubElement(known, "trkseg")
        for point in track.points:
            if point.truth is not None:
                _add_track_point(segment, point.truth, records.describe_track_point(point), "")
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _add_track_point(segment: ET.Element, at: LatLon, row: dict[str, Any], name: str) -> None:
    """Add a ``trkpt``; one with a name also says what is known of it."""
    point = ET.SubElement(segment, "trkpt", _write_position(records.describe_point(at)))
    if "time" in row:
        _add_child(point, "time", row["time"])
    if name:
        _add_child(point, "name", name)
        columns = [column for column in records.TRACK_COLUMNS if column not in ("time", "truth")]
        _add_child(point, "desc", _list_columns(row, columns))


def _list_columns(row: dict[str, Any], columns: Sequence[str]) -> str:
    names = (name for name in columns if name in row and name not in _IN_ELEMENTS)
    return "\n".join(
        f"{name}: {text}" for name in names if (text := records.format_cell(row[name]))
    )


def _add_waypoint(root: ET.Element, name: str, row: dict[str, Any], text: str, kind: str) -> None:
    """Add a ``wpt``. The schema fixes the order of its elements."""
    point = ET.SubElement(root, "wpt", _write_position(row))
    _add_child(point, "name", name)
    _add_child(point, "desc", text)
    link = ET.SubElement(point, "link", href=row["openstreetmap"])
    _add_child(link, "text", "openstreetmap.org")
    _add_child(point, "type", kind)


def _write_position(point: dict[str, Any]) -> dict[str, str]:
    """The attributes of a point; longitudes are below 180."""
    lon = -180.0 if point["lon"] >= 180.0 else point["lon"]
    return {"lat": f"{point['lat']:.7f}", "lon": f"{lon:.7f}"}


def _add_child(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
