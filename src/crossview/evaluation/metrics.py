"""From ranks and places to figures, each with its number of queries and its 95 % interval.

R@k        share of queries with a match among the first k; ties count against the query
R@1%       k = floor(0.01 * references), at least 1. Several VIGOR scripts use one more
hit rate   VIGOR: the first place, near-misses left out
AP         mean average precision by trapezoids, as University-1652 measures it (layumi)
errors     metres from the truth to the place of the first reference
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import F64, I64
from crossview.evaluation.answers import Answers
from crossview.evaluation.ranks import Ranks
from crossview.evaluation.record import Figure
from crossview.evaluation.task import Task
from crossview.geo.points import distances_between_m
from crossview.stats import cluster_interval, quantile_interval

CUTS = (1, 5, 10)
RADII_M = (5, 25, 100)
OVER = "queries, one training"


def k_at_1_percent(references: int) -> int:
    """floor(0.01 * R), at least 1: 88 of 8,884, 906 of 90,618."""
    return max(1, references // 100)


def recall(ranks: I64, k: int) -> float:
    """Share in [0, 1] of ranks 1 to ``k``; rank 0 (no match) never counts."""
    return float(((ranks > 0) & (ranks <= k)).mean())


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
    found: F64 = sums / np.maximum(counts, 1)
    return found


def errors_m(task: Task, best: I64) -> F64:
    """[Q] metres from the truth to the place of the first reference; NaN unknown."""
    found = task.reference_latlon[best[:, 0]]
    return distances_between_m(task.query_latlon, found)


@dataclass(frozen=True, eq=False)
class Sheet:
    """The values [Q] behind figures, and whose clusters they are."""

    clusters: I64
    seed: int = 0

    def share(self, name: str, values: NDArray[np.generic], known: I64 | None = None) -> Figure:
        """The mean of ``values`` in percent, over all queries or those ``known``."""
        numbers = np.asarray(values, dtype=np.float64)
        some = slice(None) if known is None else known
        low, high = cluster_interval(numbers[some], self.clusters[some], seed=self.seed)
        return self._figure(name, "%", 100.0 * np.array([numbers[some].mean(), low, high]), known)

    def mean(self, name: str, metres: F64, known: I64) -> Figure:
        """The mean of ``metres`` where known."""
        low, high = cluster_interval(metres[known], self.clusters[known], seed=self.seed)
        return self._figure(name, "m", np.array([metres[known].mean(), low, high]), known)

    def quantile(self, name: str, metres: F64, share: float, known: I64) -> Figure:
        """A quantile of ``metres`` where known."""
        some, owners = metres[known], self.clusters[known]
        low, high = quantile_interval(some, owners, share, seed=self.seed)
        return self._figure(name, "m", np.array([np.quantile(some, share), low, high]), known)

    def _figure(self, name: str, unit: str, numbers: F64, known: I64 | None) -> Figure:
        value, low, high = (float(number) for number in numbers)
        n = len(self.clusters) if known is None else len(known)
        return Figure(name=name, value=value, low=low, high=high, n=n, unit=unit, over=OVER)


def figures_of(task: Task, answers: Answers) -> tuple[Figure, ...]:
    """All figures that the task allows, in the order of tables."""
    sheet = Sheet(task.relation.clusters())
    return (
        *_recalls(sheet, task, answers),
        *_precisions(sheet, answers),
        *_errors(sheet, errors_m(task, answers.best)),
    )


def _recalls(sheet: Sheet, task: Task, answers: Answers) -> Iterator[Figure]:
    ranks = answers.ranks.of_queries()
    for name, k in (*((f"R@{k}", k) for k in CUTS), ("R@1%", _one_percent(task))):
        yield sheet.share(name, (ranks > 0) & (ranks <= k))
    if len(task.relation.near):
        yield sheet.share("hit rate", answers.ranks.leaving_near_misses_out() == 1)


def _one_percent(task: Task) -> int:
    return k_at_1_percent(task.relation.references)


def _precisions(sheet: Sheet, answers: Answers) -> Iterator[Figure]:
    if answers.distractors_above is None:
        return
    yield sheet.share("AP", average_precision(answers.ranks))
    if answers.distractors_above.any():
        ranks, gone = answers.ranks, answers.distractors_above
        yield sheet.share("AP without distractors", average_precision(ranks, gone))
        yield sheet.share("R@1 without distractors", ranks.of_queries_without(gone) == 1)


def _errors(sheet: Sheet, metres: F64) -> Iterator[Figure]:
    known = np.flatnonzero(np.isfinite(metres))
    if not len(known):
        return
    yield sheet.quantile("median error m", metres, 0.5, known)
    yield sheet.mean("mean error m", metres, known)
    yield sheet.quantile("90th percentile error m", metres, 0.9, known)
    for radius in RADII_M:
        yield sheet.share(f"within {radius} m", metres <= radius, known)
