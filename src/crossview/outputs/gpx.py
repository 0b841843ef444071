"""Answers as GPX 1.1 for receivers and map programs: one waypoint per place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

from crossview.files import printable
from crossview.geo.points import LatLon
from crossview.outputs.records import (
    COLUMNS,
    cell_text,
    distinct,
    map_address,
    place_rows,
    point_record,
)
from crossview.retrieval.places import Answer

_NAMESPACE = "http://www.topografix.com/GPX/1/1"
_ELSEWHERE = {"photo", "rank", "lat", "lon", "openstreetmap"}  # in a waypoint's own elements


def to_gpx(answers: Iterable[Answer]) -> str:
    """Waypoints by rank; ``desc`` holds everything known of them, a line each."""
    told = list(answers)
    root = ET.Element("gpx", xmlns=_NAMESPACE, version="1.1", creator="crossview")
    about = ET.SubElement(root, "metadata")
    _child(about, "name", "crossview places")
    if warnings := distinct(text for answer in told for text in answer.warnings):
        _child(about, "desc", "\n".join(warnings))
    for answer in told:
        for row in place_rows(answer):
            if "rank" in row:
                name = f"{row['photo']} {row['rank']}"
                _waypoint(root, name, row, _description(row), "place")
        if answer.truth is not None:
            row = point_record(answer.truth) | {"openstreetmap": map_address(answer.truth)}
            _waypoint(root, f"{printable(answer.photo)} truth", row, "known place", "truth")
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _description(row: dict[str, Any]) -> str:
    names = (name for name in COLUMNS if name in row and name not in _ELSEWHERE)
    return "\n".join(f"{name}: {text}" for name in names if (text := cell_text(row[name])))


def _waypoint(root: ET.Element, name: str, row: dict[str, Any], text: str, kind: str) -> None:
    """A ``wpt``; the schema fixes the order of its elements, and longitudes are below 180."""
    at = LatLon(row["lat"], row["lon"])
    lon = -180.0 if at.lon >= 180.0 else at.lon
    point = ET.SubElement(root, "wpt", lat=f"{at.lat:.7f}", lon=f"{lon:.7f}")
    _child(point, "name", name)
    _child(point, "desc", text)
    link = ET.SubElement(point, "link", href=row["openstreetmap"])
    _child(link, "text", "openstreetmap.org")
    _child(point, "type", kind)


def _child(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
