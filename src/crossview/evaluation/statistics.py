"""Intervals and tests: what a figure is worth, and whether two runs really differ.

Queries that share a match (a tile, a building, a place) are not independent, so intervals resample
clusters of them, and tests flip clusters. Across trainings the unit is the training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64
from crossview.errors import require
from crossview.evaluation.record import Figure
from crossview.retrieval.truth import wilson

Z_95 = 1.959964
RESAMPLES = 1000
FLIPS = 10_000
POWER = 0.8  # chance of noticing a difference of the size told as detectable
Z_POWER = 0.841621
_EXACT_CLUSTERS = 13  # up to here all sign flips are tried
_AT_ONCE = 4_000_000  # numbers


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs, the second minus the first, paired."""

    difference: float
    low: float
    high: float
    p: float  # two-sided
    n: int  # trainings, or clusters of queries
    detectable: float  # smallest true difference noticed in 80 % of such studies


def cluster_interval(
    values: ArrayLike, clusters: ArrayLike, *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` [N] by resampling ``clusters`` [N].

    Shares of exactly 0 or 1, where resampling sees no spread: Wilson's interval over the clusters.
    """
    numbers, sizes, sums = _per_cluster(values, clusters)
    require(len(numbers) > 0, "an interval needs at least one value.")
    if (numbers == 0.0).all() or (numbers == 1.0).all():
        return wilson(float(numbers[0]) * len(sizes), len(sizes))
    means = np.concatenate([
        (weights @ sums) / np.maximum(weights @ sizes, 1.0)
        for weights in _resampled(len(sizes), seed)
    ])  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def quantile_interval(
    values: ArrayLike, clusters: ArrayLike, share: float, *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the quantile ``share`` of ``values`` [N] by resampling clusters."""
    numbers = np.asarray(values, dtype=np.float64)
    require(len(numbers) > 0, "an interval needs at least one value.")
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    ordered, owner = numbers[order], cluster.reshape(-1)[order]
    found = []
    for weights in _resampled(int(cluster.max()) + 1, seed):
        for one in weights:
            reached = np.cumsum(one[owner])
            found.append(ordered[np.searchsorted(reached, share * reached[-1])])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def paired_test(differences: ArrayLike, clusters: ArrayLike | None = None, seed: int = 0) -> float:
    """Two-sided p of a paired sign-flip permutation test of "the mean difference is 0".

    ``differences`` [N] of two runs on the same queries; the sign of a whole cluster is flipped. All
    flips where there are few clusters, else 10,000 drawn; p is never below 1 / (flips + 1).
    """
    values = np.asarray(differences, dtype=np.float64)
    groups = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    sums = _per_cluster(values, groups)[2]
    sums = sums[sums != 0.0]
    observed = abs(sums.sum()) * (1.0 - 1e-12)
    if not len(sums):
        return 1.0
    if len(sums) <= _EXACT_CLUSTERS:
        bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs((2 * bits - 1) @ sums) >= observed).mean())
    rng = np.random.default_rng(seed)
    reached, step = 0, max(1, _AT_ONCE // len(sums))
    for start in range(0, FLIPS, step):
        signs = rng.integers(0, 2, (min(step, FLIPS - start), len(sums)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ sums) >= observed).sum())
    return (reached + 1) / (FLIPS + 1)


def compare_queries(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, seed: int = 0
) -> Comparison:
    """Two runs on the same queries; values [N] of each, such as 1 for a hit."""
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    _, sizes, sums = _per_cluster(differences, clusters)
    mean = float(differences.mean())
    low, high = cluster_interval(differences, clusters, seed=seed) if mean else (mean, mean)
    spread = float(np.sqrt(np.square(sums - mean * sizes).sum())) / len(differences)
    return Comparison(
        difference=mean,
        low=low,
        high=high,
        p=paired_test(differences, clusters, seed),
        n=len(sizes),
        detectable=(Z_95 + Z_POWER) * spread,
    )


def compare_trainings(first: ArrayLike, second: ArrayLike, *, step: float = 0.0) -> Comparison:
    """Paired t over at least two trainings, such as seeds; the figures [S] of each run.

    ``step``: what one query more or less changes a figure by. Trainings that agree to the query do
    not show that their spread is 0, so it is taken as no less than that of rounding both figures.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    n = len(differences)
    require(n >= 2, f"a comparison over trainings needs at least 2 of each, got {n}.")
    spread = max(float(differences.std(ddof=1)), step / math.sqrt(6.0))
    mean, error = float(differences.mean()), spread / math.sqrt(n)
    reach = t_quantile(0.975, n - 1) * error
    p = 2.0 * (1.0 - _t_share(abs(mean) / error, n - 1)) if error else float(mean == 0.0)
    detectable = reach + t_quantile(POWER, n - 1) * error
    return Comparison(
        difference=mean, low=mean - reach, high=mean + reach, p=p, n=n, detectable=detectable
    )


def over_trainings(figures: Sequence[Figure]) -> Figure:
    """The mean of one figure over trainings, with Student's t; one training has no interval.

    The spread of shares in percent is no less than that of rounding them to whole queries.
    """
    values = np.array([figure.value for figure in figures])
    reach = math.nan
    if len(values) > 1:
        step = 100.0 / max(1, figures[0].n) if figures[0].unit == "%" else 0.0
        spread = max(float(values.std(ddof=1)), step / math.sqrt(12.0))
        reach = t_quantile(0.975, len(values) - 1) * spread / math.sqrt(len(values))
    mean = float(values.mean())
    lowest, highest = (0.0, 100.0) if figures[0].unit == "%" else (0.0, math.inf)
    return Figure(
        name=figures[0].name,
        value=mean,
        low=float(np.maximum(mean - reach, lowest)),
        high=float(np.minimum(mean + reach, highest)),
        n=len(values),
        unit=figures[0].unit,
        over="trainings",
    )


def t_quantile(share: float, freedom: int) -> float:
    """Where Student's t with ``freedom`` >= 1 degrees has ``share`` in [0.5, 1) of it below."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _share_of_angle(middle, freedom) > share else (middle, high)
    return math.sqrt(freedom) * math.tan(low)


def _t_share(t: float, freedom: int) -> float:
    return _share_of_angle(math.atan(t / math.sqrt(freedom)), freedom)


def _share_of_angle(angle: float, freedom: int) -> float:
    """With t = sqrt(f) tan(a) the density becomes cos(a)^(f-1): smooth, so quadrature is exact."""
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    top = min(angle, 40.0 / math.sqrt(freedom))  # beyond, nothing is left
    nodes, weights = _quadrature()
    inside = np.cos((nodes + 1.0) * top / 2.0) ** (freedom - 1)
    return 0.5 + float(weights @ inside) * top / 2.0 / whole


@lru_cache(maxsize=1)
def _quadrature() -> tuple[F64, F64]:
    nodes, weights = np.polynomial.legendre.leggauss(80)
    return nodes, weights


def _per_cluster(values: ArrayLike, clusters: ArrayLike) -> tuple[F64, F64, F64]:
    """Values [N], sizes [C] and sums [C]; clusters in ascending order."""
    numbers = np.asarray(values, dtype=np.float64)
    _, cluster, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    sums = np.bincount(cluster.reshape(-1), weights=numbers, minlength=len(sizes))
    return numbers, sizes.astype(np.float64), np.asarray(sums, dtype=np.float64)


def _resampled(clusters: int, seed: int) -> Iterator[F64]:
    """How often each cluster is drawn, [some, C], in all RESAMPLES rows."""
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, clusters))
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        drawn = rng.integers(0, clusters, (rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)
