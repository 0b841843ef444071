"""From scores of overlapping windows to a list of places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crossview.arrays import F32, F64
from crossview.geo.points import LatLon, distances_m
from crossview.localization.answer import Place

if TYPE_CHECKING:
    from crossview.index.store import Index


_ROUNDING = 1.001  # windows exactly half a footprint apart are one place


def best_apart(scores: F32, lat: F64, lon: F64, apart_m: float, count: int) -> list[int]:
    """Rows of the best windows, at least ``apart_m`` from each other, best first.

    Greedy: the best window stands for all within ``apart_m`` of it, then the best of the others,
    and so on. Of equal scores the lower row comes first; NaN is no candidate.
    """
    left = np.where(np.isnan(scores), -np.inf, scores)
    rows: list[int] = []
    while len(rows) < count and left.size:
        row = int(np.argmax(left))
        if left[row] == -np.inf:
            break
        rows.append(row)
        here = LatLon(float(lat[row]), float(lon[row]))
        left[distances_m(here, lat, lon) <= apart_m * _ROUNDING] = -np.inf
    return rows


def places(index: Index, scores: F32, heading_deg: F32, count: int) -> tuple[Place, ...]:
    """The best ``count`` places of one picture; windows within half a footprint are one place.

    ``scores`` and ``heading_deg`` [N], the latter clockwise from each window's up, NaN where the
    model tells none. A place's pin is the centre of its best window.
    """
    rows = best_apart(scores, index.lat, index.lon, _apart_m(index), count)
    return tuple(_place(index, row, rank, scores, heading_deg) for rank, row in enumerate(rows, 1))


def searched_places(index: Index, scores: F32) -> float:
    """How many places fit side by side into the ground whose windows have a score (not NaN).

    Windows overlap, and neighbours have about the same score: a place claims as much ground as the
    square whose side is half a footprint.
    """
    windows = int(np.isfinite(scores).sum())
    return windows * min(1.0, index.manifest.stride_m / _apart_m(index)) ** 2


def _apart_m(index: Index) -> float:
    """How far apart the pins of two places are at least."""
    return index.manifest.footprint_m / 2.0


def _place(index: Index, row: int, rank: int, scores: F32, heading_deg: F32) -> Place:
    heading = float(heading_deg[row])
    footprint = index.footprint(row)
    return Place(
        rank=rank,
        latlon=footprint.centre,
        score=float(scores[row]),
        heading_deg=None if np.isnan(heading) else (heading + footprint.up_bearing_deg) % 360.0,
        footprint=footprint,
        window=row,
    )
