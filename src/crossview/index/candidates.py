"""Windows that an index answers with: the best of a picture, a sample, or those near a place.

An index of a city lies in memory, one of a country does not. What an answer is made of are the best
windows, those around its places, and a sample of all others that says how well the region as a
whole explains the picture: each of the sample stands for as many as there are windows of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F32, F64, I64, U8, Bool
from crossview.geo.perimeters import Perimeter
from crossview.geo.points import (
    EARTH_RADIUS_M,
    LatLon,
    find_lon_range,
    measure_distances_m,
    wrap_lon,
)
from crossview.index.similarity import NOTHING, Asked, require_finite
from crossview.runtime import LARGEST, ZERO, make_product

BEST = 300  # windows that an answer is begun with, at least
DRAWN = 10_000  # windows of a sample: with the best the log-evidence is within .01 (photos)
_MARGIN = 1.001  # of boxes around a circle, whose sphere is rounded


@dataclass(frozen=True)
class SearchArea:
    """Where windows are looked for: everywhere, in a circle, in polygons, or where both are."""

    near: LatLon | None = None
    within_m: float | None = None
    area: Perimeter | None = None

    @property
    def everywhere(self) -> bool:
        """Whether no window is left out."""
        return self.near is None and self.area is None

    def contains(self, lat: F64, lon: F64) -> Bool:
        """Whether middles of windows [N] lie inside."""
        inside = np.ones(len(lat), np.bool_)
        if self.near is not None and self.within_m is not None:
            inside &= measure_distances_m(self.near, lat, lon) <= self.within_m
        if self.area is not None:
            inside &= self.area.contains(lat, lon)
        return inside

    def list_boxes(self) -> list[tuple[float, float, float, float]]:
        """Boxes (south, west, north, east) that hold all that is inside; none crosses 180."""
        if self.area is not None:
            rings = [ring for polygon in self.area.polygons for ring in polygon[:1]]
            corners = np.array([corner for ring in rings for corner in ring])
            west, east = find_lon_range(wrap_lon(corners[:, 0]))
            boxes = _cut_box(corners[:, 1].min(), west, corners[:, 1].max(), east)
            if np.ptp(corners[:, 0]) > 180.0:
                boxes = [(boxes[0][0], -180.0, boxes[0][2], 180.0)]
            return boxes
        if self.near is not None and self.within_m is not None:
            return surround_place(self.near, self.within_m)
        return []


def surround_place(place: LatLon, radius_m: float) -> list[tuple[float, float, float, float]]:
    """Boxes (south, west, north, east) around a circle; none crosses 180."""
    up = _MARGIN * math.degrees(radius_m / EARTH_RADIUS_M)
    south, north = max(-90.0, place.lat - up), min(90.0, place.lat + up)
    farthest = max(abs(south), abs(north))
    narrow = math.cos(math.radians(farthest))
    if farthest >= 90.0 or up / narrow >= 180.0:
        return [(south, -180.0, north, 180.0)]
    across = up / narrow
    return _cut_box(south, place.lon - across, north, place.lon + across)


def _cut_box(
    south: float, west: float, north: float, east: float
) -> list[tuple[float, float, float, float]]:
    west, east = float(west), float(east)
    south, north = float(south), float(north)
    if west > east:  # it crosses 180
        return [(south, west, north, 180.0), (south, -180.0, north, east)]
    if west < -180.0:
        return [(south, -180.0, north, east), (south, west + 360.0, north, 180.0)]
    if east > 180.0:
        return [(south, west, north, 180.0), (south, -180.0, north, east - 360.0)]
    return [(south, west, north, east)]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Some windows [n] with what each of R readings of a picture scores there.

    ``numbers``: which windows of the index, ascending. ``heading_deg``: of the best turn, clockwise
    from the window's up; NaN for a model that finds none. ``chosen``: those that were not drawn by
    lot. ``complete_above``: of each reading, the score above which no window is missing.
    ``searched``: how many windows were compared.
    """

    numbers: I64
    places: F64  # [n, 3]: latitude, longitude, bearing of up
    scores: F32  # [R, n]
    heading_deg: F32  # [R, n]
    chosen: Bool  # [n]
    complete_above: F64  # [R]
    searched: int

    def weigh(self) -> F64:
        """How many windows each stands for: itself, or its share of those that were not chosen."""
        weights = np.ones(len(self.numbers))
        drawn = ~self.chosen
        if drawn.any():
            weights[drawn] = (self.searched - int(self.chosen.sum())) / int(drawn.sum())
        return weights

    def keep(self, rows: Bool) -> Candidates:
        """Those in some rows."""
        return replace(
            self,
            numbers=self.numbers[rows],
            places=self.places[rows],
            scores=self.scores[:, rows],
            heading_deg=self.heading_deg[:, rows],
            chosen=self.chosen[rows],
        )

    def join(self, others: Candidates) -> Candidates:
        """These, and others that were chosen of the same windows by the same readings."""
        numbers = np.concatenate([self.numbers, others.numbers])
        kept, first = np.unique(numbers, return_index=True)
        chosen = np.isin(kept, self.numbers[self.chosen]) | np.isin(
            kept, others.numbers[others.chosen]
        )
        return Candidates(
            numbers=kept,
            places=np.concatenate([self.places, others.places])[first],
            scores=np.concatenate([self.scores, others.scores], axis=1)[:, first],
            heading_deg=np.concatenate([self.heading_deg, others.heading_deg], axis=1)[:, first],
            chosen=chosen,
            complete_above=np.minimum(self.complete_above, others.complete_above),
            searched=self.searched,
        )


def merge_shards(
    parts: Sequence[Candidates], lots: Sequence[I64], k: int, drawn: int
) -> Candidates:
    """The best ``k`` of each reading, and the ``drawn`` lowest ``lots``, of parts of one index."""
    numbers = np.concatenate([part.numbers for part in parts])
    order = np.argsort(numbers, kind="stable")
    scores = np.concatenate([part.scores for part in parts], axis=1)[:, order]
    lot = np.concatenate(lots)[order]
    searched = sum(part.searched for part in parts)
    chosen, floors = choose_best(scores, k, searched)
    lowest = np.argsort(lot, kind="stable")[:drawn]
    kept = chosen.copy()
    kept[lowest] = True
    return Candidates(
        numbers=numbers[order][kept],
        places=np.concatenate([part.places for part in parts])[order][kept],
        scores=scores[:, kept],
        heading_deg=np.concatenate([part.heading_deg for part in parts], axis=1)[:, order][:, kept],
        chosen=chosen[kept],
        complete_above=floors,
        searched=searched,
    )


def choose_best(scores: F32, k: int, searched: int) -> tuple[Bool, F64]:
    """Which windows [n] are among the best ``k`` of a reading [R, n], and the score of the last.

    Of equal scores the lower row comes first. -inf where all ``searched`` windows are chosen.
    """
    chosen = np.zeros(scores.shape[1], np.bool_)
    floors = np.full(len(scores), np.inf)
    for reading, own in enumerate(scores):
        order = np.argsort(-own, kind="stable")[:k]
        chosen[order] = True
        if len(order):
            floors[reading] = own[order[-1]]
    if chosen.sum() >= searched:
        floors[:] = -np.inf
    return chosen, floors


def keep_above(found: Candidates, floor: float) -> Candidates:
    """Of the best windows of one reading those that score at least ``floor``."""
    kept = found.keep(found.chosen & (found.scores[0] >= floor))
    return replace(kept, complete_above=np.maximum(found.complete_above, floor))


# A filter of bytes: all windows compared in 8 bits, so that few are compared exactly.

_TILE = 2048  # windows at a time: they stay in the cache of one core
_SMALLEST = np.float32(1e-30)  # of a step: a window may be zero throughout
_SPARE = np.float32(1.0001)  # of lengths, which are computed in float32 themselves
_SLACK = 2e-5  # of a bound: exact scores are rounded as well
_STEP, _ERROR, _LENGTH, _ENERGY = 0, 1, 2, 3  # columns of facts


def count_facts(bins: int) -> int:
    """How many numbers a filter keeps of a window, besides its codes."""
    return _ENERGY + bins


@dataclass(frozen=True, eq=False)
class ByteFilter:
    """N windows in 8 bits, and bounds that no exact score is above.

    A window r is kept as whole numbers r' of a step of its own. At a turn s, the score is
    (q_s . r) / |r_s|, with r_s what the picture sees of the window; and by Cauchy and Schwarz
    q_s . r <= q_s' . r' + |q_s| |r - r'| + |q_s - q_s'| |r'|. All lengths on the right are known,
    |r_s| from the energies of the bins. So whatever 8 bits lose is in the bound, window by window.
    """

    codes: U8  # [N, D]
    facts: F32  # [N, 3 + J]: step, |r - r'|, |r'|, energies of the bins

    @staticmethod
    def round(vectors: F32, bins: int) -> ByteFilter:
        """The filter of some vectors [n, D]; :class:`BadIndex` for NaN among them."""
        require_finite(vectors)
        step = np.maximum(np.abs(vectors).max(axis=1), _SMALLEST) / np.float32(LARGEST)
        rounded = np.rint(vectors / step[:, None])
        kept = rounded * step[:, None]
        facts = np.empty((len(vectors), _ENERGY + bins), np.float32)
        facts[:, _STEP] = step
        facts[:, _ERROR] = np.linalg.norm(vectors - kept, axis=1) * _SPARE
        facts[:, _LENGTH] = np.linalg.norm(kept, axis=1) * _SPARE
        facts[:, _ENERGY:] = np.square(vectors).reshape(len(vectors), bins, -1).sum(2)
        return ByteFilter((rounded + ZERO).astype(np.uint8), facts)

    def compute_bounds(self, asked: Asked, up_bearing_deg: F64) -> F32:
        """What each window [N] scores at most, its up pointing to ``up_bearing_deg`` [N]."""
        turned, weights = asked.turn()
        step = np.abs(turned).max() / np.float32(LARGEST)
        rounded = np.rint(turned / step)
        lost = np.linalg.norm(turned - rounded * step, axis=1).max()
        longest = np.linalg.norm(turned, axis=1).max()
        columns = np.ascontiguousarray(rounded.astype(np.int8).T)
        bounds = np.empty(len(self.codes), np.float32)
        multiply, seen = make_product(), np.ascontiguousarray(weights.T)
        for start in range(0, len(bounds), _TILE):
            part = slice(start, start + _TILE)
            facts = self.facts[part]
            unit = facts[:, _STEP] * step
            error = facts[:, _ERROR] * longest + facts[:, _LENGTH] * lost
            scores = multiply(self.codes[part], columns) + (_SPARE * error / unit)[:, None]
            if asked.bins > 1:
                visible = facts[:, _ENERGY:] @ seen
                scores /= np.sqrt(np.maximum(visible, NOTHING, out=visible), out=visible)
            costs = asked.price(up_bearing_deg[part])
            if costs is None:
                bounds[part] = scores.max(axis=1) * unit
            else:
                bounds[part] = (scores * unit[:, None] - costs).max(axis=1)
        return bounds + np.float32(_SLACK)

    def take(self, rows: I64) -> ByteFilter:
        """The filter of some windows, in their order."""
        return (
            self if len(rows) == len(self.codes) else ByteFilter(self.codes[rows], self.facts[rows])
        )


def find_contenders(bounds: F32, k: int, score: Callable[[I64], F32]) -> I64:
    """Rows, ascending, among which the best ``k`` of all are, for certain.

    ``score`` gives exact scores of rows. The ``k`` of the highest bounds are scored: what cannot
    reach the lowest of these is none of the best. -inf: not looked at.
    """
    possible = int((bounds > -np.inf).sum())
    if possible <= k:
        return np.flatnonzero(bounds > -np.inf)
    first = np.sort(np.argpartition(bounds, -k)[-k:])
    floor = np.float32(score(first).min())
    return np.flatnonzero((bounds >= floor) & (bounds > -np.inf))
