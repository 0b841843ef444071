"""What the map page's script is told about the region and about each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.files import printable
from crossview.geo.points import middle_of
from crossview.localization.accuracy import summary
from crossview.localization.answer import Answer, Place
from crossview.outputs.geojson import outline_area
from crossview.outputs.records import describe_answer, describe_place, stands_out

if TYPE_CHECKING:
    from crossview.index.store import Index

_CORNER_DIGITS = 7
_MOST_CORNERS = 3000  # of an outline: 100 kB


def photo_record(answer: Answer, name: str) -> dict[str, Any]:
    """One picture: its facts, its places with the corners of their windows; no path, no hash."""
    record = {k: v for k, v in describe_answer(answer).items() if k != "sha256"}
    places = [_place(place, answer) for place in answer.places]
    record |= {"photo": name, "stands_out": stands_out(answer), "places": places}
    return {**record, "outline": _outline(answer)} if answer.confidence else record


def _outline(answer: Answer) -> list[list[list[tuple[float, float]]]]:
    """The smallest area as polygons of [latitude, longitude]; none if it is too ragged to draw."""
    areas = answer.confidence.areas if answer.confidence else ()
    polygons = outline_area(areas[0]) if areas else []
    if sum(len(ring) for polygon in polygons for ring in polygon) > _MOST_CORNERS:
        return []
    return [[[(lat, lon) for lon, lat in ring] for ring in polygon] for polygon in polygons]


def _place(place: Place, answer: Answer) -> dict[str, Any]:
    corners = [
        [round(corner.lat, _CORNER_DIGITS), round(corner.lon, _CORNER_DIGITS)]
        for corner in place.footprint.corners()
    ]
    record = describe_place(place, answer.truth)
    del record["openstreetmap"]  # 80 bytes that the page's script makes out of lat and lon
    size = {"width_m": place.footprint.width_m, "up_deg": place.footprint.up_bearing_deg}
    return {**record, "corners": corners, **size}


def region_record(index: Index) -> dict[str, Any]:
    """The index in figures, with attribution and date of its imagery."""
    manifest = index.manifest
    return {
        "title": printable(index.path.name),
        "tiles": index.count,
        "area_km2": manifest.area_km2,
        "footprint_m": manifest.footprint_m,
        "middle_lon": middle_of(index.lat, index.lon).lon if index.count else 0.0,
        "model": printable(PurePath(str(manifest.model.name_or_path)).name),
        "attribution": printable(manifest.imagery.attribution or ""),
        "date": printable(manifest.imagery.date or ""),
    }


def summary_record(answers: Sequence[Answer]) -> dict[str, Any]:
    """How many pictures; for each kind with known truth how accurately they were located."""
    kinds = dict.fromkeys(answer.kind for answer in answers)
    measured = (_accuracy([a for a in answers if a.kind == kind], kind) for kind in kinds)
    return {"photos": len(answers), "kinds": [record for record in measured if record]}


def _accuracy(answers: Sequence[Answer], kind: str) -> dict[str, Any] | None:
    """Figures of one kind of picture; an infinite median (no places) is left out."""
    known = [(answer, answer.truth) for answer in answers if answer.truth is not None]
    if not known:
        return None
    most = max(len(answer.places) for answer, _ in known)
    figures = summary([answer for answer, _ in known], [truth for _, truth in known], most)
    del figures["within_25m_interval"]
    finite = {name: value for name, value in figures.items() if np.isfinite(value)}
    widths = [answer.fov_deg for answer, _ in known]
    return {"kind": kind, "fov_deg": [round(min(widths)), round(max(widths))], **finite}
