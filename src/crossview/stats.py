"""Statistics of plain numbers: intervals of shares, means and quantiles, and tests.

Values that share a cluster (a tile, a building, a spot) are not independent, so intervals resample
clusters and tests flip clusters. Everything that a base install measures needs numpy alone, so
Wilson's interval is written out; so is Holm's rule, which scipy does not have. Student's t and
:func:`share_in_order` take scipy, which the extras report, train and data bring.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64
from crossview.errors import CrossviewError, require

Z_95 = 1.959963984540054  # quantile 0.975 of the normal distribution
WITHIN_SIGMAS = (math.erf(math.sqrt(0.5)), math.erf(math.sqrt(2.0)))
"""Shares of a normal distribution within one and two standard deviations: 68.27 and 95.45 %."""
RESAMPLES = 1000  # draws of every cluster bootstrap
FLIPS = 10_000  # draws of a permutation test
_EXACT_CLUSTERS = 13  # up to here all sign flips are tried
_AT_ONCE = 4_000_000  # numbers


def wilson(hits: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of ``n`` independent trials (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)


def cluster_interval(
    values: ArrayLike, clusters: ArrayLike, *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` [N] by resampling ``clusters`` [N].

    Shares of exactly 0 or 1, where resampling sees no spread: Wilson's interval over the clusters.
    """
    numbers = np.asarray(values, dtype=np.float64)
    low, high = cluster_intervals(numbers[:, None], clusters, seed=seed)
    return float(low[0]), float(high[0])


def cluster_intervals(values: ArrayLike, clusters: ArrayLike, *, seed: int = 0) -> tuple[F64, F64]:
    """:func:`cluster_interval` of every column of ``values`` [N, M], all from the same draws.

    Returns the lower and the upper ends [M]. Raises :class:`InvalidValue` for N = 0.
    """
    numbers = np.asarray(values, dtype=np.float64)
    require(len(numbers) > 0, "an interval needs at least one value.")
    sizes, sums = per_cluster(numbers, clusters)
    means = np.concatenate([
        (weights @ sums) / (weights @ sizes)[:, None]
        for weights in _resample(len(sizes), seed)
    ])  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    for end in np.flatnonzero((numbers == 0.0).all(axis=0) | (numbers == 1.0).all(axis=0)):
        low[end], high[end] = wilson(float(numbers[0, end]) * len(sizes), len(sizes))
    return low, high


def quantile_interval(
    values: ArrayLike, clusters: ArrayLike, share: float, *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the quantile ``share`` of ``values`` [N] by resampling clusters."""
    numbers = np.asarray(values, dtype=np.float64)
    require(len(numbers) > 0, "an interval needs at least one value.")
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    ordered, owner = numbers[order], cluster.reshape(-1)[order]
    quantiles = []
    for weights in _resample(int(cluster.max()) + 1, seed):
        for drawn in weights:
            reached = np.cumsum(drawn[owner])
            quantiles.append(ordered[np.searchsorted(reached, share * reached[-1])])
    low, high = np.quantile(quantiles, [0.025, 0.975])
    return float(low), float(high)


def compute_paired_p(
    differences: ArrayLike, clusters: ArrayLike | None = None, seed: int = 0
) -> float:
    """Two-sided p of a paired sign-flip permutation test of "the mean difference is 0".

    ``differences`` [N] of two runs on the same queries; the sign of a whole cluster is flipped. All
    flips where there are few clusters, else 10,000 drawn; p is never below 1 / (flips + 1).
    """
    values = np.asarray(differences, dtype=np.float64)
    groups = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    sums = per_cluster(values, groups)[1]
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


def holm(p: Sequence[float]) -> list[float]:
    """Values of p corrected for how many there are by Holm's step-down rule, in the order given."""
    order = np.argsort(p, kind="stable")
    stepped = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(value) for value in corrected]


def t_quantile(share: float, freedom: int) -> float:
    """Where Student's t with ``freedom`` >= 1 degrees has ``share`` in (0, 1) of it below."""
    return float(_scipy("Student's t").stdtrit(freedom, share))


def t_two_sided(t: float, freedom: int) -> float:
    """Two-sided p of a value of Student's t with ``freedom`` >= 1 degrees."""
    return float(2.0 * _scipy("Student's t").stdtr(freedom, -abs(t)))


def share_in_order(higher: ArrayLike, lower: ArrayLike) -> float:
    """Share in [0, 1] of (higher, lower) draws in which the first is larger, equal ones half.

    The area under the curve of a test that tells ``higher`` [N] from ``lower`` [M]; 0.5 is chance.
    """
    _scipy("The area under a curve")
    from scipy.stats import rankdata

    first, second = (np.asarray(values, dtype=np.float64) for values in (higher, lower))
    n, m = len(first), len(second)
    total = rankdata(np.concatenate([first, second]))[:n].sum()
    return float((total - n * (n + 1) / 2.0) / (n * m))


def per_cluster(values: ArrayLike, clusters: ArrayLike) -> tuple[F64, F64]:
    """Sizes [C] and sums [C, ...] of ``values`` [N, ...]; clusters in ascending order."""
    numbers = np.asarray(values, dtype=np.float64)
    _, cluster, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), *numbers.shape[1:]))
    np.add.at(sums, cluster.reshape(-1), numbers)
    return sizes.astype(np.float64), sums


def _resample(clusters: int, seed: int) -> Iterator[F64]:
    """How often each cluster is drawn, [some, C], in all RESAMPLES rows."""
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, clusters))
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        drawn = rng.integers(0, clusters, (rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def _scipy(what: str) -> Any:
    """``scipy.special``, which a base install does not have."""
    try:
        from scipy import special
    except ImportError as problem:
        raise CrossviewError(
            f"{what} needs scipy, which is not installed.\n"
            "Install it with: pip install 'crossview[report]'"
        ) from problem
    return special
