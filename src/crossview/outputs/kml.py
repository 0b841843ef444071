"""Answers as KML 2.2 for Google Earth and its kin: one folder per picture."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

from crossview.geo.points import LatLon
from crossview.outputs.records import (
    COLUMNS,
    answer_record,
    cell_text,
    distinct,
    place_rows,
    point_record,
)
from crossview.retrieval.places import Answer

_NAMESPACE = "http://www.opengis.net/kml/2.2"
_COLOURS = {"first": "ff0a6cff", "other": "ffd8d8d8", "truth": "ffe0c000"}  # aabbggrr
_VIEW_RANGE_M = 250
_LINK = "openstreetmap"


def to_kml(answers: Iterable[Answer]) -> str:
    """A KML document; all text is escaped, and the viewer looks along the estimated heading."""
    given = list(answers)
    root = ET.Element("kml", xmlns=_NAMESPACE)
    document = _child(root, "Document")
    _child(document, "name", "crossview places")
    if warnings := distinct(text for answer in given for text in answer.warnings):
        _child(document, "description", "\n".join(warnings))
    for name, colour in _COLOURS.items():
        _child(_child(_child(document, "Style", id=name), "IconStyle"), "color", colour)
    for answer in given:
        _folder(document, answer)
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def to_kmz(answers: Iterable[Answer]) -> bytes:
    """The same KML as ``doc.kml`` in a zip archive, byte for byte the same every time."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("doc.kml")
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        archive.writestr(entry, to_kml(answers))
    return stream.getvalue()


def _folder(document: ET.Element, answer: Answer) -> None:
    about = answer_record(answer)
    folder = _child(document, "Folder")
    _child(folder, "name", about["photo"])
    lines = [about["confidence"], *about["assumptions"], *about["warnings"]]
    _child(folder, "description", "\n".join(lines))
    for row in place_rows(answer):
        if "rank" in row:
            _place(folder, row)
    if answer.truth is not None:
        mark = _child(folder, "Placemark")
        _child(mark, "name", "truth")
        _child(mark, "styleUrl", "#truth")
        _point(mark, answer.truth)


def _place(folder: ET.Element, row: dict[str, Any]) -> None:
    mark = _child(folder, "Placemark")
    _child(mark, "name", row["rank"])
    _child(mark, "description", "\n".join([row["confidence"], *row["warnings"], row[_LINK]]))
    view = _child(mark, "LookAt")
    _child(view, "longitude", row["lon"])
    _child(view, "latitude", row["lat"])
    if "heading_deg" in row:
        _child(view, "heading", row["heading_deg"])
    _child(view, "tilt", 0)
    _child(view, "range", _VIEW_RANGE_M)
    _child(mark, "styleUrl", "#first" if row["rank"] == 1 else "#other")
    facts = _child(mark, "ExtendedData")
    for name in COLUMNS:
        if name in row and name not in ("lat", "lon"):
            _child(_child(facts, "Data", name=name), "value", cell_text(row[name]))
    _child(_child(mark, "Point"), "coordinates", f"{row['lon']},{row['lat']}")


def _point(mark: ET.Element, place: LatLon) -> None:
    record = point_record(place)
    _child(_child(mark, "Point"), "coordinates", f"{record['lon']},{record['lat']}")


def _child(parent: ET.Element, tag: str, text: Any = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element
