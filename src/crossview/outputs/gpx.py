"""Answers as GPX 1.1 for receivers and map programs: one waypoint per place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from crossview.files import printable
from crossview.localization.answer import Answer
from crossview.outputs import records

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


def _list_columns(row: dict[str, Any], columns: Sequence[str]) -> str:
    names = (name for name in columns if name in row and name not in _IN_ELEMENTS)
    return "\n".join(
        f"{name}: {text}" for name in names if (text := records.format_cell(row[name]))
    )


def _add_waypoint(root: ET.Element, name: str, row: dict[str, Any], text: str, kind: str) -> None:
    """Add a ``wpt``. The schema fixes the order of its elements; longitudes are below 180."""
    lon = -180.0 if row["lon"] >= 180.0 else row["lon"]
    point = ET.SubElement(root, "wpt", lat=f"{row['lat']:.7f}", lon=f"{lon:.7f}")
    _add_child(point, "name", name)
    _add_child(point, "desc", text)
    link = ET.SubElement(point, "link", href=row["openstreetmap"])
    _add_child(link, "text", "openstreetmap.org")
    _add_child(point, "type", kind)


def _add_child(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
