"""Queries compared with all windows of an index: the best reading of a photo, its ranked places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F32, F64, I64, Bool
from crossview.errors import InvalidValue, require
from crossview.geo.footprints import Footprint
from crossview.geo.perimeters import Perimeter
from crossview.geo.points import EARTH_RADIUS_M, LatLon, measure_distances_m, project_to_local_m
from crossview.index.candidates import BEST, DRAWN, Candidates, SearchArea
from crossview.index.selection import Held, Selection, Windows, count_windows
from crossview.index.similarity import Asked, Facing, score_queries, score_turns
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Place
from crossview.localization.hints import Hints
from crossview.localization.posterior import DEFAULT_TEMPERATURE
from crossview.localization.queries import Query, Reading
from crossview.views.crops import compute_bin_coverage

_MOST_SCORES = 40_000_000  # kept at a time: 320 MB
_REACH = 2.5  # strides: up to 21 windows of a square grid
_FARTHEST_APART = 0.25  # of a footprint: windows farther apart do not see the same
_ROUNDING = 1.001  # windows exactly half a footprint apart are one place
_LINES_WEIGHT = 3.0  # of the logarithm of how well the lines of the photo agree
_MOST_OF_LINES = 4.0  # that lines count against a reading, as a logarithm too
_TILTED_DEG = 2.0  # from this tilt on lines count in full, below in proportion


@dataclass(frozen=True)
class SearchResult:
    """What the best reading of one query gives: scores and headings of the windows ``held`` [N].

    Windows outside of the area of the hints have NaN.
    """

    reading: int
    scores: F32
    heading_deg: F32
    held: Held


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The windows around one place: rows [n] of the index, scores [n], cosines of all turns [n, J].

    Scores are those of the network at the best turn, with what turns cost off a known heading.
    """

    rows: I64
    scores: F64
    turns: F32


def search(windows: Windows, queries: Sequence[Query]) -> list[SearchResult]:
    """Compare all queries with all windows; queries share each pass over the index.

    Of an index that is not in memory, what an answer needs is held for each query: the best
    windows, those around its places, and a sample of the others.
    """
    index = windows.held
    if index is None:
        return [_select(windows, query) for query in queries]
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


def _search_together(index: Held, queries: Sequence[Query]) -> list[SearchResult]:
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
        results.append(_choose_reading(query.readings, scores[readings], headings[readings], index))
        start = readings.stop
    return results


def price_turns(query: Query, up_bearing_deg: F64, bins: int) -> F32 | None:
    """What turns [n, J] cost that are off the known heading; infinite: not tried."""
    facing = find_facing(query)
    return None if facing is None or bins == 1 else facing.price(up_bearing_deg, bins)


def find_facing(query: Query) -> Facing | None:
    """The heading that the search relies on: a person's is a density, a file's a range."""
    heading = query.heading
    if heading is None:
        return None
    sigma_deg = heading.sigma_deg if heading.source == "given" else None
    return Facing(heading.degrees, heading.slack_deg, sigma_deg, query.turned_deg)


def _choose_reading(
    readings: Sequence[Reading], scores: F32, headings: F32, held: Held
) -> SearchResult:
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
    return SearchResult(best, scores[best].copy(), headings[best].copy(), held)


def mark_searched(index: Held, hints: Hints) -> Bool:
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


def _explain_empty(index: Held, area: Perimeter, *, circled: bool) -> str:
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
    index: Held, scores: F32, heading_deg: F32, count: int, weights: F64 | None = None
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
    index: Held, query: Query, result: SearchResult, places: Sequence[Place]
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


def _find_surroundings(index: Held, scores: F32, place: Place) -> I64:
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


def count_searched_places(index: Held, scores: F32) -> float:
    """How many places fit side by side into the ground whose windows have a score (not NaN).

    Windows overlap, and neighbours have about the same score: a place claims as much ground as the
    square whose side is half a footprint.
    """
    windows = count_windows(index, np.isfinite(scores))
    return windows * min(1.0, index.manifest.stride_m / _get_separation_m(index)) ** 2


def find_listed(index: Held, places: Sequence[Place], row: int) -> int | None:
    """Rank of the place that stands for a window, if it is among those that are listed."""
    if not places:
        return None
    centres = [place.footprint.centre for place in places]
    pins = np.array([[centre.lat, centre.lon] for centre in centres])
    distances = measure_distances_m(index.footprint(row).centre, pins[:, 0], pins[:, 1])
    near = np.flatnonzero(distances <= _get_separation_m(index) * _ROUNDING)
    return places[near[0]].rank if near.size else None


def _get_separation_m(index: Held) -> float:
    """How far apart the pins of two places are at least."""
    return index.manifest.footprint_m / 2.0


def _make_place(index: Held, row: int, rank: int, scores: F32, heading_deg: F32) -> Place:
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


# Of an index that is not in memory, what an answer needs.

_ROUNDS = 8  # of looking for more windows, each four times as many
_PRIOR_SIGMAS = 4.0  # beyond, a prior weighs windows no more than anywhere else
_MOST_OF_AREA = 50_000  # windows that an area's cells are listed of
_REFINED = 1.0  # strides: how far a place is moved from its window at most


def ask(query: Query, bins: int) -> list[Asked]:
    """The readings of a photo as windows are compared with them."""
    fovs = [reading.fov_deg for reading in query.readings]
    seen = compute_bin_coverage(fovs, bins, [query.turned_deg] * len(fovs))
    facing = find_facing(query)
    return [Asked(*each, facing) for each in zip(query.vectors, seen, strict=True)]


def search_below(windows: Windows, query: Query, floor: float) -> SearchResult:
    """:func:`search` of one query, with all windows held that score at least ``floor``."""
    asked, limits = ask(query, windows.manifest.model.azimuth_bins), _limit(query.hints)
    found = _gather(windows, query, asked, limits)
    reading = _choose(windows, query, found).reading
    above = windows.above(asked[reading], floor, limits, most=_MOST_OF_AREA)
    more = windows.score(asked, np.setdiff1d(above.numbers, found.numbers[found.chosen]))
    enough = -np.inf if len(above.numbers) >= _MOST_OF_AREA else floor
    whole = replace(found.join(more), complete_above=np.full(len(asked), enough))
    return _choose(windows, query, whole)


def _select(windows: Windows, query: Query) -> SearchResult:
    asked = ask(query, windows.manifest.model.azimuth_bins)
    return _choose(windows, query, _gather(windows, query, asked, _limit(query.hints)))


def _limit(hints: Hints) -> SearchArea:
    return SearchArea(hints.near, hints.within_m, hints.area)


def _gather(
    windows: Windows, query: Query, asked: Sequence[Asked], limits: SearchArea
) -> Candidates:
    """The best windows, those around the places that they make, and a sample of the others."""
    hints, wanted, k = query.hints, max(query.hints.places, 2), BEST
    for _ in range(_ROUNDS):
        found = windows.best(asked, k, limits, drawn=DRAWN)
        require(found.searched > 0, "no window of the index lies in the given area.")
        side_m = windows.manifest.footprint_m
        tops = [_pick_tops(found, n, side_m, wanted) for n in range(len(asked))]
        if all(
            len(top) >= wanted or floor == -np.inf
            for top, floor in zip(tops, found.complete_above, strict=True)
        ):
            break
        k *= 4
    rows = {row for top in tops for row in top}
    if hints.rerank:  # any of these may become a place
        rows |= {
            *np.argsort(-found.scores, axis=1, kind="stable")[:, : hints.rerank].ravel().tolist()
        }
    places = [LatLon(*map(float, found.places[row, :2])) for row in sorted(rows)]
    places += [] if hints.claim is None else [hints.claim]
    if (prior := hints.prior) is not None:
        places.append(prior.place)
        about = SearchArea(prior.place, _PRIOR_SIGMAS * prior.sigma_m, hints.area)
        near = windows.best(asked, 4 * BEST, about)
        found = replace(found.join(_keep_inside(near, limits)), complete_above=found.complete_above)
    stride_m = windows.manifest.stride_m
    reach_m = max(_REACH * stride_m, RIGHT_WITHIN_M + (_REFINED + 0.75) * stride_m)
    around = windows.near(places, reach_m)
    more = windows.score(asked, np.setdiff1d(around, found.numbers[found.chosen]))
    return found.join(_keep_inside(more, limits))


def _keep_inside(found: Candidates, limits: SearchArea) -> Candidates:
    return found.keep(found.chosen & limits.contains(found.places[:, 0], found.places[:, 1]))


def _pick_tops(found: Candidates, reading: int, footprint_m: float, count: int) -> list[int]:
    """Rows of the best places of a reading, of windows above whose scores none is missing."""
    scores = found.scores[reading]
    complete = np.where(scores >= found.complete_above[reading], scores, np.nan)
    lat, lon = np.ascontiguousarray(found.places[:, :2].T)
    return pick_apart(complete, lat, lon, footprint_m / 2.0, count)


def _choose(windows: Windows, query: Query, found: Candidates) -> SearchResult:
    """The best reading by the windows that were found, which are held."""
    whole = Selection(windows, found.numbers, found.places, found.weigh(), -np.inf)
    headings = found.heading_deg + np.float32(query.turned_deg)
    best = _choose_reading(query.readings, found.scores, headings, whole)
    complete = len(found.numbers) >= found.searched
    floor = -np.inf if complete else float(found.complete_above[best.reading])
    return replace(best, held=replace(whole, complete_above=floor))


def hold_together(
    windows: Windows, queries: Sequence[Query], results: Sequence[SearchResult]
) -> tuple[Held, list[SearchResult]]:
    """Results of several photos over the same windows, which are those that any of them needs."""
    selections = [one.held for one in results if isinstance(one.held, Selection)]
    if not selections:
        return results[0].held, list(results)
    numbers = np.unique(np.concatenate([one.numbers for one in selections]))
    chosen = np.isin(
        numbers, np.concatenate([one.numbers[one.weights == 1.0] for one in selections])
    )
    weights, drawn = np.ones(len(numbers)), int((~chosen).sum())
    if drawn:  # by the same lots for each photo
        weights[~chosen] = (selections[0].weights.sum() - chosen.sum()) / drawn
    floor = -np.inf if drawn == 0 else np.inf
    held = Selection(windows, numbers, windows.take_places(numbers), weights, floor)
    bins, together = windows.manifest.model.azimuth_bins, []
    for query, result in zip(queries, results, strict=True):
        found = windows.score([ask(query, bins)[result.reading]], numbers)
        headings = found.heading_deg[0] + np.float32(query.turned_deg)
        together.append(SearchResult(result.reading, found.scores[0], headings, held))
    return held, together
