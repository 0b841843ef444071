"""What the map page's script is told about the region and about each picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.maps.records import answer_record, place_record
from crossview.maps.wording import printable, stands_out
from crossview.retrieval.places import Answer, Place

if TYPE_CHECKING:
    from crossview.retrieval.index import Index

RIGHT_WITHIN_M = 25.0
_CORNER_DIGITS = 7


def photo_record(answer: Answer, name: str) -> dict[str, Any]:
    """One picture: its facts, its places with the corners of their windows; no path, no hash."""
    record = {k: v for k, v in answer_record(answer).items() if k != "sha256"}
    places = [_place(place, answer) for place in answer.places]
    return {**record, "photo": name, "stands_out": stands_out(answer), "places": places}


def _place(place: Place, answer: Answer) -> dict[str, Any]:
    corners = [
        [round(corner.lat, _CORNER_DIGITS), round(corner.lon, _CORNER_DIGITS)]
        for corner in place.footprint.corners()
    ]
    size = {"width_m": place.footprint.width_m, "up_deg": place.footprint.up_bearing_deg}
    return {**place_record(place, answer.truth), "corners": corners, **size}


def region_record(index: Index) -> dict[str, Any]:
    """The index in figures, with attribution and date of its imagery."""
    manifest = index.manifest
    return {
        "title": printable(index.path.name),
        "tiles": index.count,
        "area_km2": manifest.area_km2,
        "footprint_m": manifest.footprint_m,
        "model": printable(PurePath(str(manifest.model.name_or_path)).name),
        "attribution": printable(manifest.imagery.attribution or ""),
        "date": printable(manifest.imagery.date or ""),
    }


def summary_record(answers: Iterable[Answer]) -> dict[str, Any]:
    """Counts; accuracy over the pictures whose truth is known, if any is."""
    given = list(answers)
    errors = [answer.error_m for answer in given if answer.error_m is not None]
    record: dict[str, Any] = {"photos": len(given), "stand_out": sum(map(stands_out, given))}
    if errors:
        near = sum(error <= RIGHT_WITHIN_M for error in errors)
        record.update(known=len(errors), near=near, median_error_m=float(np.median(errors)))
    return record
