"""Answers as GeoJSON (RFC 7946): points, longitude first, and areas as polygons around cells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.arrays import I64
from crossview.geo.footprints import Footprint
from crossview.geo.points import (
    LatLon,
    LonLat,
    Polygon,
    build_geometry,
    build_lines,
    cut_at_180,
    find_middle,
    move_point,
    outline_sector,
    project_to_local_m,
    reach_point,
    unroll_ring,
)
from crossview.localization.answer import Answer, Area, Place
from crossview.localization.hints import Prior
from crossview.outputs.records import (
    describe_answer,
    describe_area,
    describe_claim,
    describe_contribution,
    describe_place,
    describe_point,
    describe_prior,
    describe_track,
    describe_track_point,
    explain_track,
    list_gaps,
    measure_view_m,
    outline_position,
    outline_view,
    sees_all_around,
    split_track,
    trace_truth,
)

if TYPE_CHECKING:
    from crossview.localization.track import Track

_DIGITS = 7  # 1 cm


def to_geojson(answers: Iterable[Answer], *, footprints: bool = False) -> str:
    """All places of all answers; ``role`` tells what a feature is.

    A prior is the circle of its standard deviation; of several photos of one spot there is a
    "contribution" each, at the place where it alone would be ("photo" says whose it is).

    A place comes with what its camera saw ("view": a wedge, of pictures all around an arrow) and
    with the circle that two of three positions lie in ("uncertainty"), as far as these are known.

    An answer without places is a feature of the role "photo" without a geometry. Answers from a
    calibrated index have areas: each holds the truth with the probability ``coverage``.
    ``footprints`` adds the outline of each place's best window as a polygon of its own.
    """
    features = [feature for answer in answers for feature in _describe_features(answer, footprints)]
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, allow_nan=False) + "\n"


def to_geojson_track(track: Track) -> str:
    """A track; ``role`` is "track", "gap", "point" or "truth".

    The track is a line for each piece that was found, a gap leads straight from one to the next.
    Points, lost ones too, hold all that is known of them.
    """
    collection = {"type": "FeatureCollection", "features": list(_draw_track(track))}
    return json.dumps(collection, allow_nan=False) + "\n"


def _draw_track(track: Track) -> Iterator[dict[str, Any]]:
    pieces = [[point.latlon for point in piece] for piece in split_track(track)]
    facts = {**describe_track(track), "confidence": explain_track(track)}
    yield _make_feature(draw_lines(pieces), {"role": "track", **facts})
    for ends in list_gaps(track):
        if (gap := draw_lines([ends])) is not None:
            yield _make_feature(gap, {"role": "gap"})
    for point in track.points:
        record = describe_track_point(point)
        known = {name: value for name, value in record.items() if name not in ("lat", "lon")}
        yield _make_feature(_make_point(point.latlon), {"role": "point", **known})
    if (truth := draw_lines([trace_truth(track)])) is not None:
        yield _make_feature(truth, {"role": "truth"})


def _describe_features(answer: Answer, footprints: bool) -> Iterator[dict[str, Any]]:
    apart = ("claim", "prior", "together", "truth", "error_m")
    photo = {k: v for k, v in describe_answer(answer).items() if k not in apart}
    if not answer.places:
        yield {"type": "Feature", "geometry": None, "properties": {"role": "photo", **photo}}
    for place in answer.places:
        properties = {"role": "place", **photo, **_describe_place(place, answer.truth)}
        yield _make_feature(_make_point(place.latlon), properties)
        yield from _draw_pose(place, answer.fov_deg, str(photo["photo"]))
        if footprints:
            properties = {"role": "footprint", "photo": photo["photo"], "rank": place.rank}
            yield _make_feature(_draw_footprint(place.footprint), properties)
    if answer.claim is not None:
        facts = describe_claim(answer.claim)
        properties = {k: v for k, v in facts.items() if k not in ("lat", "lon")}
        properties = {"role": "claim", "photo": photo["photo"], **properties}
        yield _make_feature(_make_point(answer.claim.latlon), properties)
    if answer.prior is not None:
        facts = describe_prior(answer.prior)
        properties = {"role": "prior", "photo": photo["photo"], **facts}
        yield _make_feature(draw_prior(answer.prior.prior), properties)
    for contribution in answer.together:
        alone = None if contribution.alone is None else _make_point(contribution.alone)
        facts = describe_contribution(contribution)
        yield _make_feature(alone, {"role": "contribution", **facts})
    if answer.truth is not None:
        yield _make_feature(_make_point(answer.truth), {"role": "truth", "photo": photo["photo"]})
    for area in answer.confidence.areas if answer.confidence else ():
        if polygons := outline_area(area):
            properties = {"role": "area", "photo": photo["photo"], **describe_area(area)}
            parts = [part for polygon in polygons for part in cut_at_180(polygon)]
            yield _make_feature({"type": "MultiPolygon", "coordinates": parts}, properties)


def _describe_place(place: Place, truth: LatLon | None) -> dict[str, Any]:
    record = describe_place(place, truth)
    return {key: value for key, value in record.items() if key not in ("lat", "lon")}


def _draw_pose(place: Place, fov_deg: float, photo: str) -> Iterator[dict[str, Any]]:
    """The view of a place and how well its position is known, as features of their own."""
    facts = {"photo": photo, "rank": place.rank}
    record = describe_place(place, None)
    if (view := draw_view(place, fov_deg)) is not None:
        names = ("heading_deg", "heading_sigma_deg")
        told = {name: record[name] for name in names if name in record}
        length_m = measure_view_m(place.footprint.width_m)
        told |= {"fov_deg": round(fov_deg, 2), "length_m": length_m}
        yield _make_feature(view, {"role": "view", **facts, **told})
    if (circle := draw_uncertainty(place)) is not None:
        told = {"position_sigma_m": record["position_sigma_m"]}
        yield _make_feature(circle, {"role": "uncertainty", **facts, **told})


def draw_view(place: Place, fov_deg: float) -> dict[str, Any] | None:
    """What the camera saw: a wedge as a polygon; of a picture all around, a line to its front.

    None where the heading is not known.
    """
    if place.heading_deg is None or not sees_all_around(fov_deg):
        polygon = outline_view(place, fov_deg)
        return None if polygon is None else build_geometry([polygon])
    length_m = measure_view_m(place.footprint.width_m)
    tip = reach_point(place.latlon, place.heading_deg, length_m)
    return build_lines([[_read_position(place.latlon), _read_position(tip)]])


def draw_lines(lines: Iterable[Sequence[LatLon]]) -> dict[str, Any] | None:
    """Lines from place to place; None where none of them has two different ones."""
    positions = [[_read_position(place) for place in line] for line in lines]
    parts = [line for line in positions if len(set(line)) > 1]
    return build_lines(parts) if parts else None


def draw_prior(prior: Prior) -> dict[str, Any]:
    """The circle of a prior's standard deviation."""
    return build_geometry([outline_sector(prior.place, 0.0, 360.0, prior.sigma_m)])


def draw_uncertainty(place: Place) -> dict[str, Any] | None:
    """The circle that the position is known to; None where nobody knows how well."""
    polygon = outline_position(place)
    return None if polygon is None else build_geometry([polygon])


def _make_feature(geometry: dict[str, Any] | None, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _make_point(place: LatLon) -> dict[str, Any]:
    return {"type": "Point", "coordinates": _read_position(place)}


def _read_position(place: LatLon) -> tuple[float, float]:
    record = describe_point(place)
    return record["lon"], record["lat"]


def _draw_footprint(footprint: Footprint) -> dict[str, Any]:
    """A polygon whose ring runs counter-clockwise; two polygons across the antimeridian."""
    upper_left, upper_right, lower_right, lower_left = map(_read_position, footprint.corners())
    ring = [upper_left, lower_left, lower_right, upper_right, upper_left]
    return build_geometry([[unroll_ring(ring)]])


def outline_area(area: Area) -> list[Polygon]:
    """Polygons around the cells of an area; cells that share a side are in one polygon.

    Outer rings run counter-clockwise, holes clockwise (RFC 7946). Corners are those of a square
    grid about the area's middle, within half a cell of the truth up to 5 km from there. Where an
    area crosses longitude 180, longitudes run on beyond it; see ``geo.points``.
    """
    if not len(area.rows):
        return []
    from rasterio import features  # GDAL: 0.2 s, needed for areas only

    middle = find_middle(area.lat, area.lon)
    column, row = _find_grid(area, middle)
    mask = np.zeros((row.max() - row.min() + 1, column.max() - column.min() + 1), np.uint8)
    mask[row - row.min(), column - column.min()] = 1
    corner = (column.min() - 0.5, row.min() - 0.5)
    shapes = features.shapes(mask, mask=mask.astype(bool), connectivity=4)
    return [_place_rings(shape, corner, area) for shape, _ in shapes]


def _find_grid(area: Area, middle: LatLon) -> tuple[I64, I64]:
    """Column and row (down) of each cell in the grid that is aligned with ``up_bearing_deg``."""
    east, north = project_to_local_m(middle, area.lat, area.lon)
    turn = math.radians(area.up_bearing_deg)
    right = east * math.cos(turn) - north * math.sin(turn)
    up = east * math.sin(turn) + north * math.cos(turn)
    right, up = right - right[0], up - up[0]  # the first cell lies on the grid
    column, row = np.rint(right / area.cell_m), np.rint(-up / area.cell_m)
    return column.astype(np.int64), row.astype(np.int64)


def _place_rings(shape: dict[str, Any], corner: tuple[float, float], area: Area) -> Polygon:
    """Turn rings in cells into rings of longitude and latitude."""
    rings = [
        unroll_ring([_locate_corner(corner[0] + x, corner[1] + y, area) for x, y in ring])
        for ring in shape["coordinates"]
    ]
    first = rings[0][0][0]  # all rings on the same turn around the Earth
    turns = [360.0 * round((ring[0][0] - first) / 360.0) for ring in rings]
    rings = [
        [(lon - turn, lat) for lon, lat in ring] for ring, turn in zip(rings, turns, strict=True)
    ]
    return [_orient_ring(ring, outer=number == 0) for number, ring in enumerate(rings)]


def _locate_corner(column: float, row: float, area: Area) -> LonLat:
    """A corner of the grid whose cell (0, 0) is the area's first."""
    turn = math.radians(area.up_bearing_deg)
    right, up = column * area.cell_m, -row * area.cell_m
    corner = move_point(
        LatLon(float(area.lat[0]), float(area.lon[0])),
        east_m=right * math.cos(turn) + up * math.sin(turn),
        north_m=up * math.cos(turn) - right * math.sin(turn),
    )
    return round(corner.lon, _DIGITS), round(corner.lat, _DIGITS)


def _orient_ring(ring: list[LonLat], *, outer: bool) -> list[LonLat]:
    """The ring, counter-clockwise if it is an outer one, else clockwise."""
    twice_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    return ring if (twice_area > 0.0) == outer else ring[::-1]
