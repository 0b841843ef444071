"""Places between the windows of an index, and headings between the turns of its model.

Windows lie a stride apart and turns a bin, and so far a search can tell. Scores rise smoothly
towards where a picture was taken and how it was turned: a quadratic through those of neighbours has
its summit nearer to the truth than the best of them. What is fitted, and how wide its summits are,
is measured in docs/calibration.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F32, F64
from crossview.geo.points import LatLon, move_point, project_to_local_m, turn_axes_m
from crossview.index.selection import Held
from crossview.localization.answer import Place
from crossview.localization.hints import KnownHeading
from crossview.localization.queries import Query
from crossview.localization.search import Surroundings
from crossview.model import Regression

OFFSET_REGRESSED = "the model regressed where in its window each place lies"
FALL = 0.01  # of a cosine: a summit is as wide as its score takes to fall by so much
_SPREAD = 0.9 / math.sqrt(2.0)  # strides: how fast their weight falls, as a normal density
_FARTHEST = 1.0  # strides that a place is moved at most
_WIDEST_TURN_DEG = 20.0  # between turns that are on one summit
_ALIKE_UP_DEG = 1.0  # of windows whose turns are averaged
_LEAST_SINGULAR = 1e-3  # of a design that determines a quadratic
_FEWEST = 6  # scores that a quadratic in two directions takes


@dataclass(frozen=True)
class Summit:
    """Where a quadratic is highest, in steps from its middle, and how wide it is there.

    ``offset``: [2] or one number. ``width``: how far from it the score has fallen by ``FALL``.
    """

    offset: F64
    width: float


def refine_places(
    index: Held,
    query: Query,
    places: Sequence[Place],
    surroundings: Sequence[Surroundings],
    weights: F64 | None = None,
) -> tuple[Place, ...]:
    """The places of one ``query``, moved and turned to the summits of the scores around them.

    ``surroundings``: of each place (:func:`search.score_surroundings`); to their scores the weights
    [N] of a prior are added, if given. A place keeps its window's centre where the scores around it
    have no summit: at rims, beside gaps, and where windows are too far apart to see the same. A
    heading stays that of its turn where somebody gave one, and where turns are too far apart.
    """
    return tuple(
        _refine(index, query, place, around, weights)
        for place, around in zip(places, surroundings, strict=True)
    )


def place_by_offsets(
    index: Held, vector: F32, regress: Regression, places: Sequence[Place]
) -> tuple[Place, ...]:
    """Each place where its window's offset puts the camera, for a model that regresses one.

    ``vector``: the unit vector [D] of the photo. The summit of the scores is of no use then: such
    models are trained to score all windows alike that have the camera in their middle part.
    """
    if not places:
        return ()
    rows = np.array([place.window for place in places])
    queries = np.repeat(vector[None], len(rows), axis=0)
    halves = regress(queries, index.take_vectors(rows)).astype(np.float64)
    return tuple(map(_shift, places, halves.clip(-1.0, 1.0)))


def _shift(place: Place, halves: F64) -> Place:
    """A place moved so many halves of its window's side down and right; not beyond its rim."""
    window = place.footprint
    down_m, right_m = halves[0] * window.height_m / 2.0, halves[1] * window.width_m / 2.0
    east_m, north_m = turn_axes_m(right_m, -down_m, window.up_bearing_deg)
    moved = move_point(window.centre, east_m=float(east_m), north_m=float(north_m))
    return replace(place, latlon=moved, peak_m=None)


def _refine(
    index: Held, query: Query, place: Place, around: Surroundings, weights: F64 | None
) -> Place:
    rows, turns = around.rows, around.turns
    scores = around.scores if weights is None else around.scores + weights[rows]
    stride_m, centre = index.manifest.stride_m, place.footprint.centre
    east, north = (
        metres / stride_m for metres in project_to_local_m(centre, index.lat[rows], index.lon[rows])
    )
    summit = find_summit(east, north, scores)
    at = (0.0, 0.0)
    if summit is not None and np.hypot(*summit.offset) <= _FARTHEST:
        at = (float(summit.offset[0]), float(summit.offset[1]))
        place = replace(place, latlon=_move(centre, at, stride_m), peak_m=summit.width * stride_m)
    up = index.up_bearing_deg[rows] - place.footprint.up_bearing_deg
    nearness = _weigh(east - at[0], north - at[1])
    nearness[np.abs((up + 180.0) % 360.0 - 180.0) > _ALIKE_UP_DEG] = 0.0
    told = query.heading is not None and query.heading.source == "given"
    if place.heading_deg is None or told or 360.0 / turns.shape[1] > _WIDEST_TURN_DEG:
        return place
    return _turn(place, query, nearness @ turns / nearness.sum())


def _move(centre: LatLon, offset: tuple[float, float], stride_m: float) -> LatLon:
    return move_point(centre, east_m=offset[0] * stride_m, north_m=offset[1] * stride_m)


def _weigh(east: F64, north: F64) -> F64:
    """What windows so many strides away count."""
    weights: F64 = np.exp(-0.5 * (east**2 + north**2) / _SPREAD**2)
    return weights


def _turn(place: Place, query: Query, cosines: F64) -> Place:
    """A place turned to the summit of the cosines [J] of the turns, near the turn that it has."""
    step_deg = 360.0 / len(cosines)
    coarse = place.heading_deg or 0.0
    zero = place.footprint.up_bearing_deg + query.turned_deg
    turn = round((coarse - zero) / step_deg)
    if query.heading is None:  # else turns beside it may be excluded
        turn += int(np.argmax([cosines[(turn + side) % len(cosines)] for side in (-1, 0, 1)])) - 1
    summit = find_turn_summit(cosines[np.arange(turn - 1, turn + 2) % len(cosines)])
    if summit is None:
        return place
    fine = (zero + (turn + float(summit.offset)) * step_deg) % 360.0
    if _leaves(fine, coarse, query.heading):
        return place
    return replace(place, heading_deg=fine, peak_deg=summit.width * step_deg)


def _leaves(fine_deg: float, coarse_deg: float, known: KnownHeading | None) -> bool:
    """Whether a heading leaves the range of a known one, in which the turn was."""
    if known is None:
        return False
    off = [abs((one - known.degrees + 180.0) % 360.0 - 180.0) for one in (fine_deg, coarse_deg)]
    return off[0] > known.slack_deg >= off[1]


def find_summit(east: F64, north: F64, scores: F64) -> Summit | None:
    """The summit of the quadratic that fits scores [n] best, those near the middle foremost.

    ``east`` and ``north`` [n] in strides from the middle. None where the quadratic has no maximum,
    or the windows do not determine one: fewer than 6, or all on two lines.
    """
    if len(scores) < _FEWEST:
        return None
    terms = np.stack([np.ones_like(east), east, north, east**2, east * north, north**2], axis=1)
    weights = np.sqrt(_weigh(east, north))
    design = terms * weights[:, None]
    fitted, _, _, singular = np.linalg.lstsq(design, weights * scores, rcond=None)
    if singular.min() <= _LEAST_SINGULAR:
        return None
    _, to_east, to_north, a, b, c = fitted
    bend = -np.array([[2.0 * a, b], [b, 2.0 * c]])
    if not (np.linalg.eigvalsh(bend) > 0.0).all():
        return None
    offset: F64 = np.linalg.solve(bend, [to_east, to_north])
    widths = np.sqrt(2.0 * FALL / np.linalg.eigvalsh(bend))
    return Summit(offset, float(widths.mean()))


def find_turn_summit(cosines: F64) -> Summit | None:
    """The summit of the parabola through the cosines [3] of a turn and those beside it, in turns.

    At most half a turn from the middle. None where the parabola has no maximum.
    """
    before, here, after = (float(cosine) for cosine in cosines)
    bend = 2.0 * here - before - after
    if bend <= 0.0:
        return None
    offset = np.clip((after - before) / (2.0 * bend), -0.5, 0.5)
    return Summit(np.array(offset), math.sqrt(2.0 * FALL / bend))
