"""Answers as GeoJSON (RFC 7946): one FeatureCollection of points, longitude first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from crossview.geo.antimeridian import cut_at_180, geometry_of, unroll_ring
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon
from crossview.outputs.outline import outlines
from crossview.outputs.records import answer_record, area_record, place_record, point_record
from crossview.retrieval.places import Answer, Place


def to_geojson(answers: Iterable[Answer], *, footprints: bool = False) -> str:
    """All places of all answers; property ``role`` is "place", "truth", "area" or "footprint".

    An answer without places is a feature without a geometry, of the role "photo".

    An area, of answers from a calibrated index, holds the truth with the ``coverage`` it names.

    ``footprints`` adds the outline of each place's best window as a polygon of its own.
    """
    features = [feature for answer in answers for feature in _features(answer, footprints)]
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, allow_nan=False) + "\n"


def _features(answer: Answer, footprints: bool) -> Iterator[dict[str, Any]]:
    about = {k: v for k, v in answer_record(answer).items() if k not in ("truth", "error_m")}
    if not answer.places:
        yield {"type": "Feature", "geometry": None, "properties": {"role": "photo", **about}}
    for place in answer.places:
        known = {"role": "place", **about, **_properties(place, answer.truth)}
        yield _feature(_point(place.latlon), known)
        if footprints:
            outline = {"role": "footprint", "photo": about["photo"], "rank": place.rank}
            yield _feature(_outline(place.footprint), outline)
    if answer.truth is not None:
        yield _feature(_point(answer.truth), {"role": "truth", "photo": about["photo"]})
    for area in answer.confidence.areas if answer.confidence else ():
        if polygons := outlines(area):
            known = {"role": "area", "photo": about["photo"], **area_record(area)}
            parts = [part for polygon in polygons for part in cut_at_180(polygon)]
            yield _feature({"type": "MultiPolygon", "coordinates": parts}, known)


def _properties(place: Place, truth: LatLon | None) -> dict[str, Any]:
    record = place_record(place, truth)
    return {key: value for key, value in record.items() if key not in ("lat", "lon")}


def _feature(geometry: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _point(place: LatLon) -> dict[str, Any]:
    return {"type": "Point", "coordinates": _position(place)}


def _position(place: LatLon) -> tuple[float, float]:
    record = point_record(place)
    return record["lon"], record["lat"]


def _outline(footprint: Footprint) -> dict[str, Any]:
    """A polygon whose ring runs counter-clockwise; two of them across the antimeridian."""
    upper_left, upper_right, lower_right, lower_left = map(_position, footprint.corners())
    ring = [upper_left, lower_left, lower_right, upper_right, upper_left]
    return geometry_of([[unroll_ring(ring)]])
