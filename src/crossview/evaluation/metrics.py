"""From ranks and places to figures, each with its number of queries and its 95 % interval.

:data:`METRICS` is the one list of figures: their names, units and definitions, which of two values
is better, and where they are shown. Nothing else in the package knows a figure by its name alone.

The headline of one model for every view is the mean over 360, 180, 90 and 70 degrees; SinGeo (Chen
et al., arXiv 2603.09377) ranks models by it. The same queries are asked at all four fields of view,
so their hits are averaged query by query before clusters are resampled: the interval is that of the
mean, not the mean of four intervals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossview._version import __version__
from crossview.arrays import F64, I64, Bool
from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol, Queries, References
from crossview.evaluation.ranking import RankedQueries, Ranks
from crossview.evaluation.task import Task
from crossview.geo.points import measure_pair_distances_m
from crossview.localization.accuracy import mark_hits
from crossview.locks import write_alone
from crossview.stats import cluster_interval, cluster_intervals, quantile_interval

CUTS = (1, 5, 10)
RADII_M = (5, 25, 100)
OVER = "queries, one training"

Unit = Literal["%", "m"]
MetricKind = Literal["ranks", "places", "fields"]


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
_MEAN = (
    "The mean over 360, 180, 90 and 70 degrees, by which one model for every view is judged: the "
    "hits of a query are averaged over the four before clusters of queries are resampled."
)
FIELDS_DEG = (360.0, 180.0, 90.0, 70.0)
FIELDS_WORDS = "360, 180, 90 and 70 degrees"
MEANS_NAME = "means.json"


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
        for radius in RADII_M
    ),
    *(
        Metric(name=mean_name(name), title=f"{name}, mean", unit="%", kind="fields",
               word="mean over fields of view", definition=_MEAN, listed=False)
        for name in RECALLS
    ),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ALL}  # in the order of tables


def find_metric(name: str, unit: str) -> Metric | None:
    """The metric of that name; None if there is none, or if it has another unit."""
    metric = METRICS.get(name)
    return metric if metric is not None and metric.unit == unit else None


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


def compute_figures(task: Task, answers: RankedQueries) -> tuple[Figure, ...]:
    """All figures that the task allows, in the order of tables."""
    sheet = FigureSheet(task.relation.clusters())
    return (
        *_recalls(sheet, task, answers),
        *_precisions(sheet, answers),
        *_errors(sheet, errors_m(task, answers.best)),
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


def _errors(sheet: FigureSheet, metres: F64) -> Iterator[Figure]:
    rows = np.flatnonzero(np.isfinite(metres))
    if not len(rows):
        return
    yield sheet.quantile("median error m", metres, 0.5, rows)
    yield sheet.mean("mean error m", metres, rows)
    yield sheet.quantile("90th percentile error m", metres, 0.9, rows)
    for radius in RADII_M:
        yield sheet.share(f"within {radius} m", metres <= radius, rows)


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
    task: Task, answers: RankedQueries, about: RunFacts, more: Mapping[str, Any] | None = None
) -> Evaluation:
    """The whole record; ``more``: further arrays of :class:`Queries`, such as mirrored_score."""
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
        figures=compute_figures(task, answers),
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
            **(more or {}),
        ),
        references=References(ids=np.array(task.reference_ids), latlon=task.reference_latlon),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=about.command,
        crossview=__version__,
    )


@dataclass(frozen=True, kw_only=True)
class FieldsMean:
    """What one network reaches on average over :data:`FIELDS_DEG`, under one heading condition.

    ``protocol`` is that of the records, with ``fov_deg`` None and all that was not trained for.
    """

    label: str
    method: str
    data: str
    split: str
    protocol: Protocol
    seeds: tuple[int, ...]
    figures: tuple[Figure, ...]

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, such as "mean R@1"."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As plain values, with the fields of view."""
        return {**asdict(self), "fovs_deg": list(FIELDS_DEG)}


def means_over_fields(records: Iterable[Evaluation]) -> list[FieldsMean]:
    """The mean of every network and condition that was asked at all four fields of view.

    Known and unknown headings have one each, clean and damaged pictures too; heading seeds are
    averaged query by query.
    """
    groups: dict[tuple[object, ...], list[Evaluation]] = {}
    for record in records:
        facts = (record.label, record.method, network(record), record.data, record.split)
        groups.setdefault((*facts, without_field(record.protocol)), []).append(record)
    means = (mean_over_fields(group) for group in groups.values())
    return [mean for mean in means if mean is not None]


def mean_over_fields(records: Sequence[Evaluation]) -> FieldsMean | None:
    """The mean of one network under one condition; None unless all four fields of view are there.

    Queries that were not asked at each of them (pictures that could not be read) are left out; so
    is a mean over none. Records of several protocols have no mean.
    """
    if len({without_field(record.protocol) for record in records}) != 1:
        return None
    views = [[r for r in records if r.protocol.fov_deg == fov] for fov in FIELDS_DEG]
    if not all(views):
        return None
    every = [record for view in views for record in view]
    shared = sorted(set.intersection(*(set(r.queries.ids.tolist()) for r in every)))
    if not shared:
        return None
    first = every[0]
    off = dict.fromkeys(text for r in every for text in r.protocol.off_protocol)
    clusters = first.queries.cluster[_rows(first, shared)]
    return FieldsMean(
        label=first.label,
        method=first.method,
        data=first.data,
        split=first.split,
        protocol=replace(first.protocol, fov_deg=None, off_protocol=tuple(off)),
        seeds=tuple(dict.fromkeys(seed for record in every for seed in record.seeds)),
        figures=tuple(_figures(views, shared, clusters)),
    )


def write_means(folder: Path, means: Sequence[FieldsMean]) -> Path:
    """Write :data:`MEANS_NAME` beside the records' folders; returns it."""
    path = folder / MEANS_NAME
    text = json.dumps({"means": [mean.to_json() for mean in means]}, indent=2, allow_nan=False)
    write_alone(path, text + "\n", "crossview evaluate")
    return path


def network(record: Evaluation) -> str:
    """The fingerprint of the network that was measured; empty where it is not recorded."""
    return str(record.model.get("fingerprint", ""))


def _figures(
    views: Sequence[Sequence[Evaluation]], shared: Sequence[str], clusters: I64
) -> Iterator[Figure]:
    by_view = [np.mean([_hits(r)[_rows(r, shared)] for r in view], axis=0) for view in views]
    values = np.mean(by_view, axis=0)
    ends = cluster_intervals(values, clusters)
    for name, value, low, high in zip(RECALLS, values.mean(axis=0), *ends, strict=True):
        yield Figure(
            name=mean_name(name),
            value=100.0 * float(value),
            low=100.0 * float(low),
            high=100.0 * float(high),
            n=len(shared),
            unit=METRICS[mean_name(name)].unit,
            over=OVER,
        )


def _hits(record: Evaluation) -> Bool:
    """[Q, names] whether the match is within the cut of each of :data:`RECALLS`."""
    cuts = recall_cuts(record.k_at_1_percent)
    return np.stack([mark_hits(record.queries.rank, cuts[name]) for name in RECALLS], axis=1)


def _rows(record: Evaluation, ids: Sequence[str]) -> I64:
    """The rows of these queries."""
    row: Mapping[str, int] = {name: n for n, name in enumerate(record.queries.ids.tolist())}
    return np.array([row[name] for name in ids], dtype=np.int64)


def without_field(protocol: Protocol) -> Protocol:
    """What must be the same at all fields of view."""
    return replace(protocol, fov_deg=None, off_protocol=())
