"""Places between the windows of an index: the summit of the scores around the best one.

Windows lie a stride apart, and so does what the search can tell. The scores of neighbouring windows
rise smoothly towards where the picture was taken, so a quadratic through them has its summit nearer
to the truth than the best of their centres is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossview.arrays import F32, F64
from crossview.geo.points import LatLon, measure_distances_m, move_point, project_to_local_m
from crossview.index.store import Index
from crossview.localization.answer import Place
from crossview.localization.queries import Query
from crossview.localization.search import SearchResult

_NEIGHBOURS = 1.5  # strides: the eight windows around one of a square grid, with some slack
_FEWEST = 6  # scores that a quadratic in two directions takes
_SHARED = 0.75  # of a footprint that neighbours have in common, at least, on one summit
_FARTHEST = 1.0  # strides that a place is moved at most


def refine_places(
    index: Index, query: Query, result: SearchResult, places: Sequence[Place]
) -> tuple[Place, ...]:
    """The places of one ``query``, moved to the summits of the scores around their windows.

    A place whose scores have no summit near its window keeps its pin: at the rim of what was
    searched (NaN was not), or where windows are too far apart to share what a picture shows.
    """
    return tuple(_refine(index, result.scores, place) for place in places)


def _refine(index: Index, scores: F32, place: Place) -> Place:
    stride_m, centre = index.manifest.stride_m, place.footprint.centre
    if stride_m > (1.0 - _SHARED) * index.manifest.footprint_m:
        return place
    distances = measure_distances_m(centre, index.lat, index.lon)
    rows = np.flatnonzero((distances <= _NEIGHBOURS * stride_m) & np.isfinite(scores))
    east, north = project_to_local_m(centre, index.lat[rows], index.lon[rows])
    summit = find_summit(east / stride_m, north / stride_m, scores[rows].astype(np.float64))
    if summit is None or np.hypot(*summit) > _FARTHEST:
        return place
    return replace(place, latlon=_move(centre, summit * stride_m))


def _move(centre: LatLon, offset_m: F64) -> LatLon:
    return move_point(centre, east_m=float(offset_m[0]), north_m=float(offset_m[1]))


def find_summit(east: F64, north: F64, scores: F64) -> F64 | None:
    """Where [2] the quadratic that fits scores [n] best is highest; None where it is nowhere."""
    design = np.stack([np.ones_like(east), east, north, east**2, east * north, north**2], axis=1)
    if len(scores) < _FEWEST or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    _, to_east, to_north, a, b, c = np.linalg.lstsq(design, scores, rcond=None)[0]
    bend = np.array([[2.0 * a, b], [b, 2.0 * c]])
    if not (np.linalg.eigvalsh(bend) < 0.0).all():
        return None
    summit: F64 = np.linalg.solve(bend, [-to_east, -to_north])
    return summit
