"""Windows that an index answers with: the best of a picture, a sample, or those near a place.

An index of a city lies in memory, one of a country does not. What an answer is made of are the best
windows, those around its places, and a sample of all others that says how well the region as a
whole explains the picture: each of the sample stands for as many as there are windows of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F32, F64, I64, Bool
from crossview.geo.perimeters import Perimeter
from crossview.geo.points import (
    EARTH_RADIUS_M,
    LatLon,
    find_lon_range,
    measure_distances_m,
    wrap_lon,
)

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
