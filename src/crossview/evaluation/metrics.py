"""From ranks and places to figures, each with its number of queries and its 95 % interval.

:data:`METRICS` is the one list of figures: their names, units and definitions, which of two values
is better, and where they are shown. Nothing else in the package knows a figure by its name alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossview._version import __version__
from crossview.arrays import F32, F64, I64
from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol, Queries, References
from crossview.evaluation.fast_scores import Space
from crossview.evaluation.ranking import RankedQueries, Ranks
from crossview.evaluation.task import Task
from crossview.geo.points import (
    LatLon,
    measure_pair_distances_m,
    measure_turns_deg,
    move_point,
    turn_axes_m,
)
from crossview.localization.accuracy import mark_hits
from crossview.model import Regression
from crossview.stats import cluster_interval, quantile_interval

CUTS = (1, 5, 10)
RADII_M = (5, 25, 100)
OFFSET_RADII_M = (5, 10, 20, 50)  # of models that place a query within its reference
RIGHT_TURN = 0.1  # of the field of view, either way: as DSM (CVPR 2020) is said to count
OVER = "queries, one training"

Unit = Literal["%", "m", "deg"]
MetricKind = Literal["ranks", "places", "headings", "fields"]


MAIN = "R@1"  # orders tables, and is what charts and tests between runs are about
_RECALL = (
    "The share of queries with a right reference among the first k. The rank of the truth counts "
    "every reference whose score is better or equal, so ties go against the query."
)
_RECALL_1_PERCENT = (
    "R@k with k = 1 % of the references, rounded down and at least 1. Where a published figure "
    "used another k, the cell says so and does not compete."
)
_HIT_RATE = (
    "As R@1, but the near-misses of a query (tiles that also show its place) are left out of the "
    "ranking."
)
_AP = "Average precision by the trapezoid rule of University-1652, distractors kept as wrong."
_WITHOUT = (
    "AP or R@1 with all references dropped that match no query, as several later papers measure."
)
_ERROR = (
    "Metres from the truth to the place of the first reference, over queries whose place is known: "
    "median, mean, and what nine of ten queries stay below."
)
_WITHIN = "The share of queries whose first reference lies within so many metres of the truth."
_OFFSET = (
    "For models that regress where in its reference a query was taken (VIGOR's offset): by offset "
    "is from that place, otherwise from the middle of the reference. In the right tile: in the "
    "query's own match, wherever that was ranked."
)
_HEADING_ERROR = (
    "Degrees between the true heading of a query and the turn at which its own reference fits it "
    "best, median over queries of known heading. Turns are steps of 360 degrees over the azimuth "
    "bins of the model; 90 is chance."
)
_HEADING_RIGHT = (
    "The share of these queries whose heading is off by at most a tenth of their field of view, as "
    "DSM is said to count (its paper was not at hand); chance is a fifth of the field of view over "
    "360 degrees. At R@1: only queries whose place is right are asked."
)
_MEAN = (
    "The mean over 360, 180, 90 and 70 degrees, by which one model for every view is judged: the "
    "hits of a query are averaged over the four before clusters of queries are resampled."
)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure that can be measured, for everyone who computes, tabulates or explains it."""

    name: str  # of a :class:`Figure`, in records, CSV and JSON
    title: str  # heads a column, with its unit unless that is percent
    unit: Unit
    kind: MetricKind  # which of a report's tables it stands in
    word: str  # under which a report explains it
    definition: str
    higher_is_better: bool = True
    listed: bool = True  # also where several evaluations are listed, one a line


def recall_cuts(k_at_1_percent: int) -> dict[str, int]:
    """The k of every R@k that is measured, by its name."""
    return {**{f"R@{k}": k for k in CUTS}, "R@1%": k_at_1_percent}


def mean_name(name: str) -> str:
    """The name of a figure's mean over fields of view."""
    return f"mean {name}"


RECALLS = tuple(recall_cuts(1))  # the figures that ranks alone give
_ALL = (
    *(
        Metric(name=name, title=name, unit="%", kind="ranks",
               word="R@1%" if name == "R@1%" else "R@k",
               definition=_RECALL_1_PERCENT if name == "R@1%" else _RECALL)
        for name in RECALLS
    ),
    Metric(name="hit rate", title="hit rate", unit="%", kind="ranks", word="hit rate",
           definition=_HIT_RATE),
    Metric(name="AP", title="AP", unit="%", kind="ranks", word="AP", definition=_AP),
    *(
        Metric(name=f"{name} without distractors", title=f"{name} without distractors", unit="%",
               kind="ranks", word="without distractors", definition=_WITHOUT, listed=False)
        for name in ("R@1", "AP")
    ),
    Metric(name="median error m", title="median error, m", unit="m", kind="places", word="error",
           definition=_ERROR, higher_is_better=False),
    Metric(name="mean error m", title="mean error, m", unit="m", kind="places", word="error",
           definition=_ERROR, higher_is_better=False, listed=False),
    Metric(name="90th percentile error m", title="90th percentile error, m", unit="m",
           kind="places", word="error", definition=_ERROR, higher_is_better=False, listed=False),
    *(
        Metric(name=f"within {radius} m", title=f"within {radius} m", unit="%", kind="places",
               word="within", definition=_WITHIN, listed=radius == RADII_M[1])
        for radius in sorted({*RADII_M, *OFFSET_RADII_M})
    ),
    *(
        Metric(name=f"{name} m", title=f"{name}, m", unit="m", kind="places", word="offset",
               definition=_OFFSET, higher_is_better=False, listed=name == "median error by offset")
        for name in ("median error by offset", "mean error by offset",
                     "mean error in right tile", "mean error in right tile by offset")
    ),
    *(
        Metric(name=f"within {radius} m by offset", title=f"within {radius} m by offset", unit="%",
               kind="places", word="offset", definition=_OFFSET, listed=False)
        for radius in OFFSET_RADII_M
    ),
    Metric(name="heading error", title="median heading error, degrees", unit="deg",
           kind="headings", word="heading error", definition=_HEADING_ERROR,
           higher_is_better=False),
    Metric(name="heading right", title="heading right", unit="%", kind="headings",
           word="heading right", definition=_HEADING_RIGHT),
    Metric(name="heading right at R@1", title="heading right at R@1", unit="%", kind="headings",
           word="heading right", definition=_HEADING_RIGHT, listed=False),
    *(
        Metric(name=mean_name(name), title=f"{name}, mean", unit="%", kind="fields",
               word="mean over fields of view", definition=_MEAN, listed=False)
        for name in RECALLS
    ),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ALL}  # in the order of tables


def k_at_1_percent(references: int) -> int:
    """floor(0.01 * R), at least 1: 88 of 8,884, 906 of 90,618."""
    return max(1, references // 100)


def recall(ranks: I64, k: int) -> float:
    """R@k, the share in [0, 1] of ranks 1 to ``k``: the one implementation of it.

    Ranks are those of ``evaluation.ranking``, where ties count against the query; 0 (no match)
    never counts.
    """
    return float(mark_hits(ranks, k).mean())


def average_precision(ranks: Ranks, without: I64 | None = None) -> F64:
    """[Q] average precision in [0, 1]; 0 where a query has no match.

    The i-th of n matches (from 0) at position p (from 0) adds the mean of its precision
    (i + 1) / (p + 1) and the one before, i / p (1 at p = 0), over n. ``without`` [P]: references
    at least as good as each match that do not take part (distractors).
    """
    worse = ranks.worse() if without is None else ranks.worse() - without
    query = ranks.relation.right.query
    order = np.lexsort((worse, query))
    counts = np.bincount(query, minlength=ranks.relation.queries)
    i = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    p = i + worse[order]
    before = np.where(p == 0, 1.0, i / np.maximum(p, 1))
    areas = ((i + 1) / (p + 1) + before) / 2.0
    sums = np.bincount(query[order], weights=areas, minlength=len(counts))
    precision: F64 = sums / np.maximum(counts, 1)
    return precision


def errors_m(task: Task, best: I64) -> F64:
    """[Q] metres from the truth to the place of the first reference; NaN unknown."""
    latlon = task.reference_latlon[best[:, 0]]
    return measure_pair_distances_m(task.query_latlon, latlon)


@dataclass(frozen=True, eq=False)
class HeadingErrors:
    """How far off the turns are at which Q queries fit their own references best, in degrees."""

    error_deg: F64  # [Q] in [0, 180]; NaN unknown
    fov_deg: F64  # [Q] of the queries

    @staticmethod
    def of(
        space: Space, truth: I64, heading_deg: F64, up_bearing_deg: F64, fov_deg: F64
    ) -> HeadingErrors:
        """Errors of queries whose middles look to ``heading_deg`` [Q], NaN where unknown.

        ``truth`` [Q]: the reference of each, -1 without one, whose up points to its
        ``up_bearing_deg`` [R]. Both clockwise from true north.
        """
        asked = np.flatnonzero((truth >= 0) & np.isfinite(heading_deg))
        own = truth[asked]
        found_deg = space.turns_deg(asked, own) + up_bearing_deg[own]
        error_deg = np.full(len(truth), np.nan)
        error_deg[asked] = measure_turns_deg(found_deg, heading_deg[asked])
        return HeadingErrors(error_deg, fov_deg)


@dataclass(frozen=True, eq=False)
class AerialViews:
    """What is known of R references: vectors, metres across, bearing of up, middle."""

    vectors: F32  # [R, D]
    side_m: F64  # [R] NaN unknown
    up_bearing_deg: F64  # [R]
    latlon: F64  # [R, 2]


@dataclass(frozen=True, kw_only=True, eq=False)
class RegressedPlaces:
    """Where a model's offsets put Q queries; [Q, 2] degrees, NaN unknown."""

    first: F64  # in the first reference
    right: F64  # in the best match
    right_middle: F64  # the middle of that, for comparison

    @staticmethod
    def of(
        regress: Regression, queries: F32, references: AerialViews, answers: RankedQueries
    ) -> RegressedPlaces:
        """By the head of a network and the unit vectors of Q queries, [Q, D]."""
        matched = answers.truth >= 0
        middle = np.where(matched[:, None], references.latlon[answers.truth], np.nan)
        right = _regress_places(regress, queries, references, answers.truth)
        right[~matched] = np.nan
        first = _regress_places(regress, queries, references, answers.best[:, 0])
        return RegressedPlaces(first=first, right=right, right_middle=middle)


def _regress_places(regress: Regression, queries: F32, references: AerialViews, chosen: I64) -> F64:
    """[Q, 2] the regressed place of each query in the reference of this number."""
    halves = regress(queries, references.vectors[chosen]).astype(np.float64)
    down_m, right_m = halves.T * references.side_m[chosen] / 2.0
    east_m, north_m = turn_axes_m(right_m, -down_m, references.up_bearing_deg[chosen])
    places = np.full((len(queries), 2), np.nan)
    known = np.isfinite(references.latlon[chosen]).all(axis=1) & np.isfinite(east_m + north_m)
    for row in np.flatnonzero(known):
        middle = LatLon(*references.latlon[chosen[row]])
        place = move_point(middle, east_m=float(east_m[row]), north_m=float(north_m[row]))
        places[row] = place.lat, place.lon
    return places


@dataclass(frozen=True, eq=False)
class FigureSheet:
    """The values [Q] behind figures, and whose clusters they are."""

    clusters: I64
    seed: int = 0

    def share(self, name: str, values: NDArray[np.generic], rows: I64 | None = None) -> Figure:
        """The mean of ``values`` in percent, over all queries or those ``rows``."""
        numbers = np.asarray(values, dtype=np.float64)
        chosen = slice(None) if rows is None else rows
        low, high = cluster_interval(numbers[chosen], self.clusters[chosen], seed=self.seed)
        return self._figure(name, 100.0 * np.array([numbers[chosen].mean(), low, high]), rows)

    def mean(self, name: str, metres: F64, rows: I64) -> Figure:
        """The mean of ``metres`` where known."""
        low, high = cluster_interval(metres[rows], self.clusters[rows], seed=self.seed)
        return self._figure(name, np.array([metres[rows].mean(), low, high]), rows)

    def quantile(self, name: str, metres: F64, share: float, rows: I64) -> Figure:
        """A quantile of ``metres`` where known."""
        values, owners = metres[rows], self.clusters[rows]
        low, high = quantile_interval(values, owners, share, seed=self.seed)
        return self._figure(name, np.array([np.quantile(values, share), low, high]), rows)

    def _figure(self, name: str, numbers: F64, rows: I64 | None) -> Figure:
        unit = METRICS[name].unit
        value, low, high = (float(number) for number in numbers)
        n = len(self.clusters) if rows is None else len(rows)
        return Figure(name=name, value=value, low=low, high=high, n=n, unit=unit, over=OVER)


def compute_figures(
    task: Task,
    answers: RankedQueries,
    headings: HeadingErrors | None = None,
    placed: RegressedPlaces | None = None,
) -> tuple[Figure, ...]:
    """All figures that the task allows, in the order of tables."""
    sheet = FigureSheet(task.relation.clusters())
    radii_m = sorted({*RADII_M, *(OFFSET_RADII_M if placed else ())})
    return (
        *_recalls(sheet, task, answers),
        *_precisions(sheet, answers),
        *_errors(sheet, errors_m(task, answers.best), radii_m),
        *(_offset_figures(sheet, task, placed) if placed else ()),
        *(_heading_figures(sheet, headings, answers.ranks.of_queries()) if headings else ()),
    )


def _recalls(sheet: FigureSheet, task: Task, answers: RankedQueries) -> Iterator[Figure]:
    ranks = answers.ranks.of_queries()
    for name, k in recall_cuts(k_at_1_percent(task.relation.references)).items():
        yield sheet.share(name, mark_hits(ranks, k))
    if len(task.relation.near):
        yield sheet.share("hit rate", answers.ranks.without_near_misses() == 1)


def _precisions(sheet: FigureSheet, answers: RankedQueries) -> Iterator[Figure]:
    if answers.distractors_above is None:
        return
    yield sheet.share("AP", average_precision(answers.ranks))
    if answers.distractors_above.any():
        ranks, gone = answers.ranks, answers.distractors_above
        yield sheet.share("AP without distractors", average_precision(ranks, gone))
        yield sheet.share("R@1 without distractors", ranks.of_queries_without(gone) == 1)


def _errors(sheet: FigureSheet, metres: F64, radii_m: Sequence[int]) -> Iterator[Figure]:
    rows = np.flatnonzero(np.isfinite(metres))
    if not len(rows):
        return
    yield sheet.quantile("median error m", metres, 0.5, rows)
    yield sheet.mean("mean error m", metres, rows)
    yield sheet.quantile("90th percentile error m", metres, 0.9, rows)
    for radius in radii_m:
        yield sheet.share(f"within {radius} m", metres <= radius, rows)


def _list_placed(task: Task, placed: RegressedPlaces) -> dict[str, Any]:
    """The arrays of :class:`Queries` that tell of offsets."""
    truth = task.query_latlon
    return {
        "offset_latlon": placed.first,
        "offset_error_m": measure_pair_distances_m(truth, placed.first),
        "right_error_m": measure_pair_distances_m(truth, placed.right_middle),
        "right_offset_error_m": measure_pair_distances_m(truth, placed.right),
    }


def _offset_figures(sheet: FigureSheet, task: Task, placed: RegressedPlaces) -> Iterator[Figure]:
    """Over queries whose place is known; in the right tile over those that have a match."""
    arrays = _list_placed(task, placed)
    metres = arrays["offset_error_m"]
    rows = np.flatnonzero(np.isfinite(metres))
    if len(rows):
        yield sheet.quantile("median error by offset m", metres, 0.5, rows)
        yield sheet.mean("mean error by offset m", metres, rows)
    middle_m, offset_m = arrays["right_error_m"], arrays["right_offset_error_m"]
    both = np.flatnonzero(np.isfinite(middle_m + offset_m))
    if len(both):
        yield sheet.mean("mean error in right tile m", middle_m, both)
        yield sheet.mean("mean error in right tile by offset m", offset_m, both)
    for radius in OFFSET_RADII_M if len(rows) else ():
        yield sheet.share(f"within {radius} m by offset", metres <= radius, rows)


def _heading_figures(sheet: FigureSheet, headings: HeadingErrors, ranks: I64) -> Iterator[Figure]:
    """Over queries of known heading, and over those of them whose place comes first."""
    error = headings.error_deg
    rows = np.flatnonzero(np.isfinite(error))
    if not len(rows):
        return
    right = error <= RIGHT_TURN * headings.fov_deg
    yield sheet.quantile("heading error", error, 0.5, rows)
    yield sheet.share("heading right", right, rows)
    if len(first := rows[ranks[rows] == 1]):
        yield sheet.share("heading right at R@1", right, first)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Who is measured, and under which protocol."""

    label: str
    method: str
    protocol: Protocol
    model: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    command: str = ""


def make_record(
    task: Task,
    answers: RankedQueries,
    about: RunFacts,
    more: Mapping[str, Any] | None = None,
    headings: HeadingErrors | None = None,
    placed: RegressedPlaces | None = None,
) -> Evaluation:
    """The whole record; ``more``: further arrays of :class:`Queries`, such as mirrored_score.

    ``headings``: what is known of them; None, or NaN everywhere: the method answers none.
    ``placed``: where offsets put the queries; None: the method regresses none.
    """
    told = headings is not None and bool(np.isfinite(headings.error_deg).any())
    first = answers.best[:, 0]
    return Evaluation(
        label=about.label,
        method=about.method,
        model=about.model,
        data=task.data,
        split=task.split,
        root=task.root,
        protocol=about.protocol,
        seeds=about.seeds,
        skipped=task.skipped,
        k_at_1_percent=k_at_1_percent(task.relation.references),
        figures=compute_figures(task, answers, headings, placed),
        queries=Queries(
            ids=np.array(task.query_ids),
            rank=answers.ranks.of_queries(),
            error_m=errors_m(task, answers.best),
            truth_latlon=task.query_latlon,
            found_latlon=task.reference_latlon[first],
            truth=answers.truth,
            best=answers.best,
            best_score=answers.best_score.astype(np.float32),
            true_score=answers.ranks.best_scores().astype(np.float32),
            unmatched_score=answers.unmatched_score.astype(np.float32),
            cluster=task.relation.clusters(),
            heading_error_deg=headings.error_deg if told and headings else None,
            **(_list_placed(task, placed) if placed else {}),
            **(more or {}),
        ),
        references=References(ids=np.array(task.reference_ids), latlon=task.reference_latlon),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=about.command,
        crossview=__version__,
    )
