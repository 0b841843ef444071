"""Which differences between runs are more than chance: paired tests on the same queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from crossview.arrays import F64, I64
from crossview.evaluation import run_comparison as statistics
from crossview.evaluation.metrics import MAIN, OVER
from crossview.evaluation.run_comparison import compare_queries, compare_trainings, correct_together
from crossview.localization.accuracy import hits
from crossview.reports.results import RunResult, Trial


@dataclass(frozen=True, kw_only=True)
class RunComparison(statistics.Comparison):
    """``run`` minus ``against`` in points of R@1, corrected for all comparisons of the report.

    ``n``: trainings, or the queries that both answered.
    """

    run: str
    against: str
    slot: int
    against_slot: int
    metric: str
    over: str  # "queries, one training" or "trainings"


@dataclass(frozen=True)
class _Pair:
    """Two runs of one test, and the second minus the first before the correction."""

    run: RunResult
    against: RunResult
    made: statistics.Comparison
    over: str


def compare_runs(trials: Sequence[Trial], seed: int = 0) -> list[tuple[Trial, list[RunComparison]]]:
    """All pairs of runs of each test that may be compared, with p corrected over the report."""
    pairs = [(trial, list(_pairs(trial, seed))) for trial in trials]
    corrected = iter(correct_together([pair.made for _, found in pairs for pair in found]))
    return [(trial, [_named(pair, next(corrected)) for pair in found]) for trial, found in pairs]


def _pairs(trial: Trial, seed: int) -> Iterable[_Pair]:
    comparable = [result for result in trial.results if not result.conditions.off_protocol]
    for run, against in combinations(comparable, 2):
        trainings = min(run.trainings, against.trainings)
        if trainings > 1 and run.trainings == against.trainings:
            step = 100.0 / max(1, len(run.first.queries.ids))
            made = compare_trainings(_values(against), _values(run), step=step)
            yield _Pair(run, against, made, "trainings")
            continue
        ours, theirs, clusters = pair_hits(run, against)
        if len(ours) > 1:
            made = compare_queries(theirs, ours, clusters, seed)
            yield _Pair(run, against, replace(made, n=len(ours)), OVER)


def _named(pair: _Pair, made: statistics.Comparison) -> RunComparison:
    return RunComparison(
        run=pair.run.label, against=pair.against.label, slot=pair.run.slot,
        against_slot=pair.against.slot, metric=MAIN, over=pair.over, **vars(made),
    )  # fmt: skip


def _values(result: RunResult) -> list[float]:
    return [f.value for e in result.evaluations if (f := e.figure(MAIN))]


def pair_hits(run: RunResult, against: RunResult) -> tuple[F64, F64, I64]:
    """Hits at rank 1 in percent of both runs [N], and clusters [N], over the shared queries.

    Of several records of a run, each query's hits are averaged first.
    """
    ours, theirs = _hits(run), _hits(against)
    first = run.first.queries
    clusters = dict(zip(first.ids.tolist(), first.cluster.tolist(), strict=True))
    shared = [query for query in ours if query in theirs and query in clusters]
    one, two = (100.0 * np.array([of[query] for query in shared]) for of in (ours, theirs))
    return one, two, np.array([clusters[query] for query in shared], dtype=np.int64)


def _hits(result: RunResult) -> dict[str, float]:
    """Mean hit at rank 1 of every query, by its id; one without a match is never found."""
    sums: dict[str, list[float]] = {}
    for evaluation in result.evaluations:
        queries = evaluation.queries
        for query, hit in zip(queries.ids.tolist(), hits(queries.rank, 1).tolist(), strict=True):
            sums.setdefault(query, []).append(float(hit))
    return {query: sum(found) / len(found) for query, found in sums.items()}
