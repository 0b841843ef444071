"""An answer as plain JSON values: the one list of columns that every format carries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crossview.files import printable
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, distance_m
from crossview.outputs.wording import confidence
from crossview.retrieval.places import Answer, Area, Confidence, Place

COLUMNS = (
    "photo", "rank", "lat", "lon", "score", "heading_deg", "probability", "error_m",
    "openstreetmap", "kind", "fov_deg", "fov_source", "heading_source", "confidence", "assumptions",
    "warnings", "truth", "window", "sha256",
)  # fmt: skip
"""What every format says of a place. ``calibrated`` is left to formats that nest: ``confidence``
says the same in words."""

_DEGREE_DIGITS = 7  # 1 cm


def place_rows(answer: Answer) -> Iterator[dict[str, Any]]:
    """A row per place, best first, for formats without nesting; keys are some of ``COLUMNS``.

    An answer without places has one row without ``rank``: its warnings are told all the same.
    """
    about = {k: v for k, v in answer_record(answer).items() if k in COLUMNS and k != "error_m"}
    for place in answer.places:
        yield {**about, **place_record(place, answer.truth)}
    if not answer.places:
        yield about


def cell_text(value: Any) -> str:
    """A value of a row as text: lists joined by semicolons, points as latitude and longitude."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(map(str, value.values()))
    return str(value)


def answer_record(answer: Answer) -> dict[str, Any]:
    """Everything about one picture but its places and scores; what is unknown is left out."""
    record: dict[str, Any] = {
        "photo": printable(answer.photo),
        "sha256": answer.sha256,
        "kind": answer.kind,
        "fov_deg": round(answer.fov_deg, 2),
        "fov_source": answer.fov_source,
        "assumptions": [printable(text) for text in answer.assumptions],
        "warnings": [printable(text) for text in answer.warnings],
        "confidence": confidence(answer),
    }
    if answer.heading_source is not None:
        record["heading_source"] = answer.heading_source
    if answer.confidence is not None:
        record["calibrated"] = confidence_record(answer.confidence)
    if answer.truth is not None:
        record["truth"] = point_record(answer.truth)
    if answer.error_m is not None:
        record["error_m"] = round(answer.error_m, 2)
    return record


def confidence_record(known: Confidence) -> dict[str, Any]:
    """What a calibration says of one picture, without the cells of its areas."""
    return {
        "elsewhere": round(known.elsewhere, 4),
        "refused": known.refused,
        "false_reject": known.false_reject,
        "areas": [area_record(area) for area in known.areas],
        "kind": known.kind,
        "n": known.n,
        "date": known.date,
    }


def area_record(area: Area) -> dict[str, Any]:
    """How often such an area holds the truth, its size, and its share of the region."""
    return {
        "coverage": area.coverage,
        "km2": round(area.km2, 6),
        "share": round(area.share, 6),
    }


def place_record(place: Place, truth: LatLon | None) -> dict[str, Any]:
    """One place: rank, lat, lon, score; heading, probability and error only where known."""
    record: dict[str, Any] = {
        "rank": place.rank,
        **point_record(place.latlon),
        "score": round(place.score, 6),
        "window": place.window,
        "openstreetmap": map_address(place.latlon),
    }
    if place.heading_deg is not None:
        record["heading_deg"] = round(place.heading_deg, 2) % 360.0
    if place.probability is not None:
        record["probability"] = round(place.probability, 4)
    if truth is not None:
        record["error_m"] = round(distance_m(place.latlon, truth), 2)
    return record


def map_address(point: LatLon) -> str:
    """The address of a page of openstreetmap.org that marks the point. Nothing is fetched."""
    lat, lon = (f"{value:.{_DEGREE_DIGITS}f}" for value in (point.lat, point.lon))
    return f"https://www.openstreetmap.org/?mlat={lat}&mlon={lon}#map=19/{lat}/{lon}"


def footprint_record(footprint: Footprint) -> dict[str, Any]:
    """The ground rectangle of a place's best window."""
    return {
        **point_record(footprint.centre),
        "width_m": round(footprint.width_m, 3),
        "height_m": round(footprint.height_m, 3),
        "up_bearing_deg": round(footprint.up_bearing_deg, 4),
    }


def point_record(point: LatLon) -> dict[str, float]:
    """``lat`` and ``lon`` in degrees, to about a centimetre."""
    return {"lat": round(point.lat, _DEGREE_DIGITS), "lon": round(point.lon, _DEGREE_DIGITS)}
