"""Numbers behind the charts: shares of queries with intervals, and how far scores are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64
from crossview.localization.accuracy import mark_hits
from crossview.reports.results import RunResult
from crossview.stats import cluster_intervals, share_in_order


@dataclass(frozen=True, eq=False)
class Curve:
    """y [N] over x [N], both with an interval of 95 %; percent."""

    x: F64
    y: F64
    low: F64
    high: F64


def compute_recall_curve(result: RunResult, most: int, seed: int = 0) -> Curve:
    """Percent of queries whose truth is among the first k, for k from 1 to ``most``.

    As R@k: queries without a match are not found.
    """
    ks = np.unique(np.round(np.geomspace(1, max(2, most), 40)))
    rank = np.concatenate([e.queries.rank for e in result.evaluations])
    within_k = np.stack([mark_hits(rank, int(k)) for k in ks], axis=1)
    return _average(ks, within_k, _list_clusters(result), np.ones(len(rank), dtype=bool), seed)


def compute_error_curve(result: RunResult, metres: F64, seed: int = 0) -> Curve:
    """Percent of queries whose first place is at most this far from the truth."""
    error = np.concatenate([e.queries.error_m for e in result.evaluations])
    return _average(
        metres, error[:, None] <= metres, _list_clusters(result), np.isfinite(error), seed
    )


def compute_answered_curve(result: RunResult) -> tuple[F64, F64]:
    """(percent answered, percent of the answers that are right), most confident first.

    Confidence is the score of the first reference; right is a truth at rank 1.
    """
    score = np.concatenate([e.queries.best_score[:, 0] for e in result.evaluations])
    rank = np.concatenate([e.queries.rank for e in result.evaluations])
    scored = np.isfinite(score)
    right = mark_hits(rank[scored], 1)[np.argsort(-score[scored], kind="stable")]
    answered = np.arange(1, len(right) + 1)
    keep = np.unique(np.linspace(max(0, len(right) // 50 - 1), len(right) - 1, 80).astype(int))
    share = np.cumsum(right) / answered
    return 100.0 * answered[keep] / len(right), 100.0 * share[keep]


def compute_separation(matched: F64, unmatched: F64) -> float:
    """Percent of (matched, unmatched) draws in which the matched score is the higher one.

    50 is chance; equal scores count half.
    """
    return 100.0 * share_in_order(matched, unmatched)


def _list_clusters(result: RunResult) -> np.ndarray:
    return np.concatenate([e.queries.cluster for e in result.evaluations])


def _average(
    x: F64, hit: np.ndarray, clusters: np.ndarray, counted: np.ndarray, seed: int
) -> Curve:
    """Shares of the counted rows of ``hit`` [Q, N], with their intervals over clusters."""
    if not counted.any():
        nothing = np.full(len(x), np.nan)
        return Curve(x, nothing, nothing, nothing)
    low, high = cluster_intervals(hit[counted], clusters[counted], seed=seed)
    share = hit[counted].mean(axis=0)
    return Curve(x.astype(np.float64), 100.0 * share, 100.0 * low, 100.0 * high)
