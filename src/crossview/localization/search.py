"""Queries compared with all windows of an index: the best reading of a photo, its ranked places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64, I64, Bool
from crossview.errors import InvalidValue
from crossview.geo.footprints import Footprint
from crossview.geo.perimeters import Perimeter
from crossview.geo.points import EARTH_RADIUS_M, LatLon, measure_distances_m, project_to_local_m
from crossview.index.store import Index
from crossview.localization.answer import Place
from crossview.localization.hints import Hints
from crossview.localization.posterior import DEFAULT_TEMPERATURE
from crossview.localization.queries import Query, Reading
from crossview.localization.similarity import score_queries, score_turns
from crossview.views.crops import compute_bin_coverage

_MOST_SCORES = 40_000_000  # kept at a time: 320 MB
_REACH = 2.5  # strides: up to 21 windows of a square grid
_FARTHEST_APART = 0.25  # of a footprint: windows farther apart do not see the same
_ROUNDING = 1.001  # windows exactly half a footprint apart are one place
_TURN_COST = 0.02  # of a cosine, for each half squared standard deviation from a heading
_LINES_WEIGHT = 3.0  # of the logarithm of how well the lines of the photo agree
_MOST_OF_LINES = 4.0  # that lines count against a reading, as a logarithm too
_TILTED_DEG = 2.0  # from this tilt on lines count in full, below in proportion


@dataclass(frozen=True)
class SearchResult:
    """What the best reading of one query gives: scores and headings [N] of all windows.

    Windows outside of the area of the hints have NaN.
    """

    reading: int
    scores: F32
    heading_deg: F32


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The windows around one place: rows [n] of the index, scores [n], cosines of all turns [n, J].

    Scores are those of the network at the best turn, with what turns cost off a known heading.
    """

    rows: I64
    scores: F64
    turns: F32


def search(index: Index, queries: Sequence[Query]) -> list[SearchResult]:
    """Compare all queries with all windows; queries share each pass over the index."""
    results: list[SearchResult] = []
    start = 0
    while start < len(queries):
        stop, vectors = start, 0
        while stop < len(queries) and (stop == start or vectors * index.count < _MOST_SCORES):
            vectors += len(queries[stop].readings)
            stop += 1
        results += _search_together(index, queries[start:stop])
        start = stop
    return results


def _search_together(index: Index, queries: Sequence[Query]) -> list[SearchResult]:
    bins = index.manifest.model.azimuth_bins
    owners = [query for query in queries for _ in query.readings]
    vectors = np.concatenate([query.vectors for query in queries])
    turned = [query.turned_deg for query in owners]
    fovs = [reading.fov_deg for query in queries for reading in query.readings]
    seen = compute_bin_coverage(fovs, bins, turned)
    scores = np.empty((len(vectors), index.count), np.float32)
    headings = np.empty_like(scores)
    for rows, block in index.blocks():
        costs = [price_turns(query, index.up_bearing_deg[rows], bins) for query in owners]
        scores[:, rows], headings[:, rows] = score_queries(vectors, block, bins, seen, costs)
    headings += np.array(turned, np.float32)[:, None]
    results, start = [], 0
    marked: dict[tuple[object, ...], Bool] = {}  # photos mostly share their area
    for query in queries:
        readings = slice(start, start + len(query.readings))
        hints = query.hints
        if hints.near is not None or hints.area is not None:
            limits = (hints.near, hints.within_m, hints.area)
            if limits not in marked:
                marked[limits] = mark_searched(index, hints)
            scores[readings, ~marked[limits]] = np.nan
        results.append(_choose_reading(query.readings, scores[readings], headings[readings]))
        start = readings.stop
    return results


def price_turns(query: Query, up_bearing_deg: F64, bins: int) -> F32 | None:
    """What turns [n, J] cost that are off the known heading; infinite: not tried.

    Turns within its slack are tried, or the nearest one. Of a heading that a person gives, every
    other one costs as much as it is less likely than the nearest: the logarithm of a normal
    density, in cosines. A direction in a file is a range, within which turns cost nothing.
    """
    heading = query.heading
    if heading is None or bins == 1:
        return None
    bearing = up_bearing_deg[:, None] + np.arange(bins) * 360.0 / bins + query.turned_deg
    off = np.abs((bearing - heading.degrees + 180.0) % 360.0 - 180.0)
    nearest = off.min(axis=1, keepdims=True)
    price = np.zeros_like(off)
    if heading.source == "given":
        price = _TURN_COST / 2.0 * (off**2 - nearest**2) / heading.sigma_deg**2
    costs: F32 = np.where(off <= np.maximum(heading.slack_deg, nearest), price, np.inf)
    return costs.astype(np.float32)


def _choose_reading(readings: Sequence[Reading], scores: F32, headings: F32) -> SearchResult:
    """The reading that the best score and the lines of the photo speak for; first of equals.

    The score alone tells the lens of hardly more than half of all tilted photos, and two thirds of
    level ones. Lines tell a lens by where uprights meet, which those of a level photo do nowhere:
    so they count by how tilted the reading is that they prefer. They are asked only where all
    readings are of one lens: those of a panorama are bent.
    """
    support = np.nanmax(scores, axis=1).astype(np.float64) / DEFAULT_TEMPERATURE
    tilts = [reading.tilt for reading in readings]
    if all(tilt is not None for tilt in tilts):
        lines = np.array([tilt.evidence for tilt in tilts if tilt is not None])
        preferred = tilts[int(np.argmax(lines))]
        tilted = min(1.0, abs(preferred.pitch_deg) / _TILTED_DEG) if preferred else 0.0
        against = np.maximum(_LINES_WEIGHT * (lines - lines.max()), -_MOST_OF_LINES)
        support += tilted * against
    best = int(np.argmax(support))
    return SearchResult(best, scores[best].copy(), headings[best].copy())


def mark_searched(index: Index, hints: Hints) -> Bool:
    """Windows [N] whose centres lie in the area of the hints: in the circle, and in the polygons.

    Raises :class:`InvalidValue` where there are none, which says how far away they are.
    """
    inside = np.ones(index.count, dtype=bool)
    if hints.near is not None and hints.within_m is not None:
        distances = measure_distances_m(hints.near, index.lat, index.lon)
        inside &= distances <= hints.within_m
        if not inside.any():
            raise InvalidValue(
                f"no window of the index lies within {hints.within_m / 1000:g} km of {hints.near}; "
                f"the nearest is {distances.min() / 1000:.1f} km away.\n"
                "Give a larger radius or another index."
            )
    if hints.area is not None:
        inside &= hints.area.contains(index.lat, index.lon)
        if not inside.any():
            raise InvalidValue(_explain_empty(index, hints.area, circled=hints.near is not None))
    return inside


def _explain_empty(index: Index, area: Perimeter, *, circled: bool) -> str:
    """Why no window lies in an area: the circle, swapped coordinates, its size, or its place."""
    if circled and area.contains(index.lat, index.lon).any():
        return (
            "no window of the index lies both in the area and in the circle around the given "
            "place.\nGive one of the two, or a larger radius."
        )
    swapped = area.swap()
    if swapped is not None and swapped.contains(index.lat, index.lon).any():
        return (
            "no window of the index lies in the area; with latitude and longitude exchanged some "
            "would.\nGeoJSON writes longitude first: [13.40, 52.52]."
        )
    far_m = area.measure_distance_m(index.lat, index.lon)
    if far_m < index.manifest.footprint_m:
        return (
            "the area holds the middle of no window of the index, whose windows lie "
            f"{index.manifest.stride_m:g} m apart.\nGive a larger area."
        )
    return (
        f"no window of the index lies in the area; the nearest is about {far_m / 1000:.1f} km from "
        "it.\nGive another area or another index."
    )


def rank_places(
    index: Index, scores: F32, heading_deg: F32, count: int, weights: F64 | None = None
) -> tuple[Place, ...]:
    """The best ``count`` places of one picture; windows within half a footprint are one place.

    ``scores`` and ``heading_deg`` [N], the latter clockwise from each window's up, NaN where the
    model finds none. ``weights`` [N] are added to the scores to rank them, where there is a prior.
    A place's pin is the centre of its best window; ``refinement`` moves it.
    """
    ranked = scores if weights is None else scores + weights
    rows = pick_apart(ranked, index.lat, index.lon, _get_separation_m(index), count)
    return tuple(
        _make_place(index, row, rank, scores, heading_deg) for rank, row in enumerate(rows, 1)
    )


def score_surroundings(
    index: Index, query: Query, result: SearchResult, places: Sequence[Place]
) -> list[Surroundings]:
    """What the windows around each place score, up to 2.5 strides away; its own is among them.

    It is alone where windows are more than a quarter of a footprint apart: then they do not see the
    same. Windows that were not searched (NaN) take no part.
    """
    if not places:
        return []
    around = [_find_surroundings(index, result.scores, place) for place in places]
    rows, bins = np.concatenate(around), index.manifest.model.azimuth_bins
    fov_deg = query.readings[result.reading].fov_deg
    seen = compute_bin_coverage([fov_deg], bins, [query.turned_deg])[0]
    turns = score_turns(query.vectors[result.reading], index.take_vectors(rows), bins, seen)
    costs = price_turns(query, index.up_bearing_deg[rows], bins)
    scores = (turns if costs is None else turns - costs).max(1).astype(np.float64)
    ends = np.cumsum([len(own) for own in around])[:-1]
    parts = zip(around, np.split(scores, ends), np.split(turns, ends), strict=True)
    return [Surroundings(*part) for part in parts]


def _find_surroundings(index: Index, scores: F32, place: Place) -> I64:
    """Rows of the searched windows around a place, and of its own."""
    own = np.array([place.window])
    stride_m, centre = index.manifest.stride_m, place.footprint.centre
    if stride_m > _FARTHEST_APART * index.manifest.footprint_m:
        return own
    reach_m = _REACH * stride_m
    band_deg = math.degrees(reach_m / EARTH_RADIUS_M)
    rows = np.flatnonzero(np.abs(index.lat - centre.lat) <= band_deg)  # few of a large index
    east, north = project_to_local_m(centre, index.lat[rows], index.lon[rows])
    near = (np.hypot(east, north) <= reach_m) & np.isfinite(scores[rows])
    return np.union1d(rows[near], own)


def pick_apart(scores: F32 | F64, lat: F64, lon: F64, apart_m: float, count: int) -> list[int]:
    """Rows of the best windows, at least ``apart_m`` from each other, best first.

    Greedy: the best window represents all within ``apart_m`` of it, then the best of the others,
    and so on. Of equal scores the lower row comes first; NaN is not a candidate.
    """
    left = np.where(np.isnan(scores), -np.inf, scores)
    rows: list[int] = []
    while len(rows) < count and left.size:
        row = int(np.argmax(left))
        if left[row] == -np.inf:
            break
        rows.append(row)
        here = LatLon(float(lat[row]), float(lon[row]))
        left[measure_distances_m(here, lat, lon) <= apart_m * _ROUNDING] = -np.inf
    return rows


def count_searched_places(index: Index, scores: F32) -> float:
    """How many places fit side by side into the ground whose windows have a score (not NaN).

    Windows overlap, and neighbours have about the same score: a place claims as much ground as the
    square whose side is half a footprint.
    """
    windows = int(np.isfinite(scores).sum())
    return windows * min(1.0, index.manifest.stride_m / _get_separation_m(index)) ** 2


def find_listed(index: Index, places: Sequence[Place], row: int) -> int | None:
    """Rank of the place that stands for a window, if it is among those that are listed."""
    if not places:
        return None
    centres = [place.footprint.centre for place in places]
    pins = np.array([[centre.lat, centre.lon] for centre in centres])
    distances = measure_distances_m(index.footprint(row).centre, pins[:, 0], pins[:, 1])
    near = np.flatnonzero(distances <= _get_separation_m(index) * _ROUNDING)
    return places[near[0]].rank if near.size else None


def _get_separation_m(index: Index) -> float:
    """How far apart the pins of two places are at least."""
    return index.manifest.footprint_m / 2.0


def _make_place(index: Index, row: int, rank: int, scores: F32, heading_deg: F32) -> Place:
    footprint = index.footprint(row)
    return Place(
        rank=rank,
        latlon=footprint.centre,
        score=float(scores[row]),
        heading_deg=turn_to_north(heading_deg[row], footprint),
        footprint=footprint,
        window=row,
    )


def turn_to_north(heading_deg: float, footprint: Footprint) -> float | None:
    """A heading that counts from a window's up, clockwise from north; None for NaN."""
    heading = float(heading_deg)
    return None if np.isnan(heading) else (heading + footprint.up_bearing_deg) % 360.0
