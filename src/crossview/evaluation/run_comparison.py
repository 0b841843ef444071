"""Whether two runs really differ: over the queries that both answered, or over trainings.

Queries that share a match (a tile, a building, a place) are not independent, so their clusters are
the unit; across trainings the unit is the training. Comparisons that stand together are corrected
together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from crossview import stats
from crossview.errors import require
from crossview.evaluation.evaluation_record import Figure

ALPHA = 0.05
POWER = 0.8  # chance of noticing a difference of the size told as detectable
Z_POWER = 0.8416212335729143  # quantile POWER of the normal distribution


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs, the second minus the first, paired."""

    difference: float
    low: float
    high: float
    p: float  # two-sided
    n: int  # trainings, or clusters of queries
    detectable: float  # smallest true difference noticed in 80 % of such studies
    p_holm: float = math.nan  # corrected for all comparisons that stand together; NaN: not yet

    @property
    def sure(self) -> bool:
        """Whether the difference is more than chance at 5 %, all comparisons considered."""
        return self.p_holm < ALPHA


def correct_together(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one table or page, each with its p corrected for all of them (Holm)."""
    corrected = stats.holm([comparison.p for comparison in comparisons])
    return [replace(c, p_holm=p) for c, p in zip(comparisons, corrected, strict=True)]


def compare_queries(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, seed: int = 0
) -> Comparison:
    """Two runs on the same queries; values [N] of each, such as 1 for a hit."""
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    sizes, sums = stats.per_cluster(differences, clusters)
    mean = float(differences.mean())
    low, high = stats.cluster_interval(differences, clusters, seed=seed) if mean else (mean, mean)
    spread = float(np.sqrt(np.square(sums - mean * sizes).sum())) / len(differences)
    return Comparison(
        difference=mean,
        low=low,
        high=high,
        p=stats.compute_paired_p(differences, clusters, seed),
        n=len(sizes),
        detectable=(stats.Z_95 + Z_POWER) * spread,
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
    reach = stats.t_quantile(0.975, n - 1) * error
    p = stats.t_two_sided(mean / error, n - 1) if error else float(mean == 0.0)
    detectable = reach + stats.t_quantile(POWER, n - 1) * error
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
        reach = stats.t_quantile(0.975, len(values) - 1) * spread / math.sqrt(len(values))
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
