"""Answers as KML 2.2 for Google Earth and similar viewers, one folder per picture; and tracks."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from crossview.geo.points import LatLon, LonLat
from crossview.localization.answer import Answer
from crossview.outputs import records
from crossview.outputs.geojson import draw_lines, draw_prior, draw_uncertainty, draw_view

if TYPE_CHECKING:
    from crossview.localization.track import Track, TrackPoint

_NAMESPACE = "http://www.opengis.net/kml/2.2"
_EXTENSIONS = "http://www.google.com/kml/ext/2.2"
_COLOURS = {"first": "ff0a6cff", "other": "ffd8d8d8", "claim": "ffff40c0", "truth": "ffe0c000"}
"""Of pins: aabbggrr."""

_SHAPES = {"view": ("ff4c8aff", "404c8aff"), "uncertainty": ("ffffffff", "30ffffff"),
    "prior": ("ffff9db7", "20ff9db7"),
}  # fmt: skip
"""Of outlines and of what they enclose: aabbggrr."""
_TRACK_COLOURS = {
    "track": ("ff4ad2ff", "ff4ad2ff"), "gap": ("b0ffffff", "b0ffffff"),
    "point": ("ff4ad2ff", "ff4ad2ff"), "lost": ("ff8a8a8a", "ff8a8a8a"),
    "truth": ("ffcce03f", "ffcce03f"),
}  # fmt: skip
"""Of lines and of pins: aabbggrr."""

_VIEW_RANGE_M = 250
_VIEW_TILT_DEG = 60  # from straight down: the place lies ahead, as the camera would go on to see it
_LINK = "openstreetmap"


def to_kml(answers: Iterable[Answer]) -> str:
    """A KML document. All text is escaped; the viewer looks along the estimated heading."""
    answers = list(answers)
    root = ET.Element("kml", xmlns=_NAMESPACE)
    document = _add_child(root, "Document")
    _add_child(document, "name", "crossview places")
    if warnings := records.drop_repeats(text for answer in answers for text in answer.warnings):
        _add_child(document, "description", "\n".join(warnings))
    for name, colour in _COLOURS.items():
        _add_child(_add_child(_add_child(document, "Style", id=name), "IconStyle"), "color", colour)
    for name, (line, area) in _SHAPES.items():
        style = _add_child(document, "Style", id=name)
        _add_child(_add_child(style, "LineStyle"), "color", line)
        _add_child(_add_child(style, "PolyStyle"), "color", area)
    for answer in answers:
        _add_folder(document, answer)
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def to_kml_track(track: Track) -> str:
    """A track as KML: where all times are known one that viewers play, else lines; and its points.

    Pieces that are found are apart. Each point has its time and its facts, and is viewed along its
    heading; lost ones are grey.
    """
    facts = records.describe_track(track)
    root = ET.Element("kml", {"xmlns": _NAMESPACE, "xmlns:gx": _EXTENSIONS})
    document = _add_child(root, "Document")
    _add_child(document, "name", facts["source"])
    remarks = [records.explain_track(track), *facts["assumptions"], *facts["warnings"]]
    _add_child(document, "description", "\n".join(remarks))
    for name, (line, icon) in _TRACK_COLOURS.items():
        style = _add_child(document, "Style", id=name)
        _add_child(_add_child(style, "IconStyle"), "color", icon)
        looks = _add_child(style, "LineStyle")
        _add_child(looks, "color", line)
        _add_child(looks, "width", 4)
    pieces = records.split_track(track)
    if all(point.time is not None for point in track.points):
        _add_played(document, pieces)
    else:
        _add_lines(document, "track", [[point.latlon for point in piece] for piece in pieces])
    for ends in records.list_gaps(track):
        _add_lines(document, "gap", [ends])
    folder = _add_child(document, "Folder")
    _add_child(folder, "name", "points")
    for point in track.points:
        _add_track_point(folder, records.describe_track_point(point))
    _add_lines(document, "truth", [records.trace_truth(track)])
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _add_lines(document: ET.Element, name: str, lines: Sequence[Sequence[LatLon]]) -> None:
    """One placemark of lines, which have its name as their style; nothing of lines of one point."""
    if (shape := draw_lines(lines)) is not None:
        _add_shape(document, name, name, shape)


def _add_played(document: ET.Element, pieces: Sequence[Sequence[TrackPoint]]) -> None:
    """The pieces as tracks that a viewer plays; nothing is interpolated between them."""
    mark = _add_child(document, "Placemark")
    _add_child(mark, "name", "track")
    _add_child(mark, "styleUrl", "#track")
    several = _add_child(mark, "gx:MultiTrack")
    _add_child(several, "gx:interpolate", 0)
    for piece in pieces:
        played = _add_child(several, "gx:Track")
        rows = [records.describe_track_point(point) for point in piece]
        for row in rows:
            _add_child(played, "when", row["time"])
        for row in rows:
            _add_child(played, "gx:coord", f"{row['lon']} {row['lat']} 0")
        for row in rows:
            turned = f"{row['heading_deg']} 0 0" if "heading_deg" in row else None
            _add_child(played, "gx:angles", turned)


def _add_track_point(folder: ET.Element, row: dict[str, Any]) -> None:
    mark = _add_child(folder, "Placemark")
    _add_child(mark, "name", row["photo"])
    _add_view(mark, row)
    if "time" in row:
        _add_child(_add_child(mark, "TimeStamp"), "when", row["time"])
    _add_child(mark, "styleUrl", "#lost" if row["lost"] else "#point")
    _add_facts(mark, row, [name for name in records.TRACK_COLUMNS if name not in ("lat", "lon")])
    _add_child(_add_child(mark, "Point"), "coordinates", f"{row['lon']},{row['lat']}")


def to_kmz(answers: Iterable[Answer]) -> bytes:
    """The same KML as ``doc.kml`` in a zip archive; equal answers give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("doc.kml")
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        archive.writestr(entry, to_kml(answers))
    return stream.getvalue()


def _add_folder(document: ET.Element, answer: Answer) -> None:
    photo = records.describe_answer(answer)
    folder = _add_child(document, "Folder")
    _add_child(folder, "name", photo["photo"])
    advice = [photo["advice"]] if "advice" in photo else []
    together = [
        f"{name}: {records.explain_contribution(each)}"
        for name, each in zip(
            records.shorten_names([each.photo for each in answer.together]),
            answer.together,
            strict=True,
        )
    ]
    lines = [photo["confidence"], *together, *advice, *photo["assumptions"], *photo["warnings"]]
    _add_child(folder, "description", "\n".join(lines))
    for row in records.build_rows(answer):
        if "rank" in row:
            _add_place(folder, row)
    for place in answer.places:
        hidden = place.rank > 1  # until somebody wants to see it: ten wedges hide each other
        for name, shape in (
            ("view", draw_view(place, answer.fov_deg)), ("uncertainty", draw_uncertainty(place))
        ):  # fmt: skip
            if shape is not None:
                _add_shape(folder, f"{place.rank} {name}", name, shape, hidden=hidden)
    if answer.prior is not None:
        _add_shape(folder, "prior", "prior", draw_prior(answer.prior.prior))
    if answer.claim is not None:
        mark = _add_child(folder, "Placemark")
        _add_child(mark, "name", "claim")
        _add_child(mark, "description", records.explain_claim(answer.claim))
        _add_child(mark, "styleUrl", "#claim")
        _add_facts(mark, records.build_claim_row(answer), records.CLAIM_COLUMNS)
        _add_point(mark, answer.claim.latlon)
    if answer.truth is not None:
        mark = _add_child(folder, "Placemark")
        _add_child(mark, "name", "truth")
        _add_child(mark, "styleUrl", "#truth")
        _add_point(mark, answer.truth)


def _add_place(folder: ET.Element, row: dict[str, Any]) -> None:
    mark = _add_child(folder, "Placemark")
    _add_child(mark, "name", row["rank"])
    _add_child(mark, "description", "\n".join([row["confidence"], *row["warnings"], row[_LINK]]))
    _add_view(mark, row)
    _add_child(mark, "styleUrl", "#first" if row["rank"] == 1 else "#other")
    _add_facts(mark, row, [name for name in records.COLUMNS if name not in ("lat", "lon")])
    _add_child(_add_child(mark, "Point"), "coordinates", f"{row['lon']},{row['lat']}")


def _add_view(mark: ET.Element, row: dict[str, Any]) -> None:
    """The viewer looks at the point along its heading; straight down where that is not known."""
    view = _add_child(mark, "LookAt")
    _add_child(view, "longitude", row["lon"])
    _add_child(view, "latitude", row["lat"])
    if "heading_deg" in row:
        _add_child(view, "heading", row["heading_deg"])
    _add_child(view, "tilt", _VIEW_TILT_DEG if "heading_deg" in row else 0)
    _add_child(view, "range", _VIEW_RANGE_M)


def _add_shape(
    folder: ET.Element, name: str, style: str, geometry: dict[str, Any], *, hidden: bool = False
) -> None:
    """A placemark of lines or polygons of GeoJSON; what longitude 180 cuts stays together."""
    mark = _add_child(folder, "Placemark")
    _add_child(mark, "name", name)
    if hidden:
        _add_child(mark, "visibility", 0)
    _add_child(mark, "styleUrl", f"#{style}")
    parts, kind = geometry["coordinates"], geometry["type"]
    parts = parts if kind.startswith("Multi") else [parts]
    parent = mark if len(parts) == 1 else _add_child(mark, "MultiGeometry")
    for part in parts:
        if kind.endswith("LineString"):
            line = _add_child(parent, "LineString")
            _add_child(line, "tessellate", 1)
            _add_child(line, "coordinates", _write_points(part))
            continue
        polygon = _add_child(parent, "Polygon")
        _add_child(polygon, "tessellate", 1)
        for ring in part:
            side = "outerBoundaryIs" if ring is part[0] else "innerBoundaryIs"
            boundary = _add_child(_add_child(polygon, side), "LinearRing")
            _add_child(boundary, "coordinates", _write_points(ring))


def _write_points(points: Iterable[LonLat]) -> str:
    return " ".join(f"{lon},{lat}" for lon, lat in points)


def _add_facts(mark: ET.Element, row: dict[str, Any], columns: Sequence[str]) -> None:
    facts = _add_child(mark, "ExtendedData")
    for name in columns:
        if name in row:
            text = records.format_cell(row[name])
            _add_child(_add_child(facts, "Data", name=name), "value", text)


def _add_point(mark: ET.Element, place: LatLon) -> None:
    record = records.describe_point(place)
    _add_child(_add_child(mark, "Point"), "coordinates", f"{record['lon']},{record['lat']}")


def _add_child(parent: ET.Element, tag: str, text: Any = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = str(text)
    return element
