"""Which differences between runs are more than chance: paired tests on the same queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from crossview.arrays import F64, I64
from crossview.evaluation import statistics
from crossview.evaluation.statistics import compare_queries, compare_trainings
from crossview.reports.results import Result, Trial

ALPHA = 0.05
METRIC = "R@1"


@dataclass(frozen=True)
class Comparison:
    """``run`` minus ``against`` in points of R@1, over the queries that both answered."""

    run: str
    against: str
    slot: int
    against_slot: int
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float  # corrected for all comparisons of the report
    detectable: float  # smallest true difference that four of five such studies would notice
    n: int
    over: str  # "queries, one training" or "trainings"

    @property
    def sure(self) -> bool:
        """Whether the difference is more than chance at 5 %, all comparisons considered."""
        return self.p_holm < ALPHA


def comparisons(trials: Sequence[Trial], seed: int = 0) -> list[tuple[Trial, list[Comparison]]]:
    """All pairs of runs of each test that may be compared, with p corrected over the report."""
    made = [(trial, list(_pairs(trial, seed))) for trial in trials]
    corrected = iter(holm([c.p for _, found in made for c in found]))
    return [(t, [replace(c, p_holm=next(corrected)) for c in found]) for t, found in made]


def holm(p: Sequence[float]) -> list[float]:
    """Values of p corrected by Holm's step-down rule, in the order given."""
    order = np.argsort(p, kind="stable")
    stepped = np.array([p[i] for i in order]) * np.arange(len(p), 0, -1)
    corrected = np.minimum(np.maximum.accumulate(stepped), 1.0) if len(p) else stepped
    found = np.empty(len(p))
    found[order] = corrected
    return [float(value) for value in found]


def _pairs(trial: Trial, seed: int) -> Iterable[Comparison]:
    comparable = [result for result in trial.results if not result.conditions.off_protocol]
    for run, against in combinations(comparable, 2):
        trainings = min(run.trainings, against.trainings)
        if trainings > 1 and run.trainings == against.trainings:
            step = 100.0 / max(1, len(run.first.queries.ids))
            made = compare_trainings(_values(against), _values(run), step=step)
            yield _named(run, against, made, trainings)
            continue
        ours, theirs, clusters = paired_hits(run, against)
        if len(ours) > 1:
            yield _named(run, against, compare_queries(theirs, ours, clusters, seed), len(ours))


def _named(run: Result, against: Result, made: statistics.Comparison, n: int) -> Comparison:
    return Comparison(
        run=run.label, against=against.label, slot=run.slot, against_slot=against.slot,
        metric=METRIC, difference=made.difference, low=made.low, high=made.high, p=made.p,
        p_holm=made.p, detectable=made.detectable, n=n,
        over="trainings" if run.trainings > 1 and n == run.trainings else "queries, one training",
    )  # fmt: skip


def _values(result: Result) -> list[float]:
    return [f.value for e in result.evaluations if (f := e.figure(METRIC))]


def paired_hits(run: Result, against: Result) -> tuple[F64, F64, I64]:
    """Hits at rank 1 in percent of both runs [N], and clusters [N], over the shared queries.

    Of several records of a run, each query's hits are averaged first.
    """
    ours, theirs = _hits(run), _hits(against)
    first = run.first.queries
    clusters = dict(zip(first.ids.tolist(), first.cluster.tolist(), strict=True))
    shared = [query for query in ours if query in theirs and query in clusters]
    hits = [100.0 * np.array([of[query] for query in shared]) for of in (ours, theirs)]
    return hits[0], hits[1], np.array([clusters[query] for query in shared], dtype=np.int64)


def _hits(result: Result) -> dict[str, float]:
    """Mean hit at rank 1 of every query that has a match, by its id."""
    sums: dict[str, list[float]] = {}
    for evaluation in result.evaluations:
        queries = evaluation.queries
        for query, rank in zip(queries.ids.tolist(), queries.rank.tolist(), strict=True):
            if rank > 0:
                sums.setdefault(query, []).append(float(rank == 1))
    return {query: sum(hits) / len(hits) for query, hits in sums.items()}
