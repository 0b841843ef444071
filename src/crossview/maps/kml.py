"""Answers as KML 2.2 for Google Earth and its kin: one folder per picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

from crossview.geo.points import LatLon
from crossview.maps.records import answer_record, place_record, point_record
from crossview.maps.wording import distinct
from crossview.retrieval.places import Answer, Place

_NAMESPACE = "http://www.opengis.net/kml/2.2"
_COLOURS = {"first": "ff0a6cff", "other": "ffd8d8d8", "truth": "ffe0c000"}  # aabbggrr
_VIEW_RANGE_M = 250


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


def _folder(document: ET.Element, answer: Answer) -> None:
    about = answer_record(answer)
    folder = _child(document, "Folder")
    _child(folder, "name", about["photo"])
    lines = [about["confidence"], *about["assumptions"], *about["warnings"]]
    _child(folder, "description", "\n".join(lines))
    for place in answer.places:
        _place(folder, place, answer)
    if answer.truth is not None:
        mark = _child(folder, "Placemark")
        _child(mark, "name", "truth")
        _child(mark, "styleUrl", "#truth")
        _point(mark, answer.truth)


def _place(folder: ET.Element, place: Place, answer: Answer) -> None:
    record = place_record(place, answer.truth)
    mark = _child(folder, "Placemark")
    _child(mark, "name", f"{place.rank}")
    view = _child(mark, "LookAt")
    _child(view, "longitude", record["lon"])
    _child(view, "latitude", record["lat"])
    _child(view, "heading", record.get("heading_deg", 0))
    _child(view, "tilt", 0)
    _child(view, "range", _VIEW_RANGE_M)
    _child(mark, "styleUrl", "#first" if place.rank == 1 else "#other")
    facts = _child(mark, "ExtendedData")
    for name, value in record.items():
        if name not in ("lat", "lon"):
            _child(_child(facts, "Data", name=name), "value", value)
    _point(mark, place.latlon)


def _point(mark: ET.Element, place: LatLon) -> None:
    record = point_record(place)
    _child(_child(mark, "Point"), "coordinates", f"{record['lon']},{record['lat']}")


def _child(parent: ET.Element, tag: str, text: Any = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element
