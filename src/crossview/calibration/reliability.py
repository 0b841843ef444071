"""Whether stated probabilities come true, and what refusing pictures from elsewhere costs.

Expected calibration error as in Guo et al., "On calibration of modern neural networks" (ICML 2017),
over bins of equal mass rather than equal width, so that no bin rests on a handful of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64, I64
from crossview.errors import InvalidValue, require

BINS = 15
_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Reliability:
    """Per bin [B], from low to high: mean stated probability, share that came true, and n."""

    stated: F64
    came_true: F64
    n: I64

    @property
    def error(self) -> float:
        """Expected calibration error: the gap of a bin, averaged over all pictures."""
        return float(np.average(np.abs(self.stated - self.came_true), weights=self.n))


def reliability(probability: ArrayLike, right: ArrayLike, bins: int = BINS) -> Reliability:
    """Group pictures by stated probability [n] into ``bins`` of equal mass.

    Equal probabilities are never parted, so the order of the pictures changes nothing; there may
    then be fewer bins. Raises :class:`InvalidValue` for values outside of [0, 1].
    """
    stated, came_true = _checked(probability, right)
    order = np.argsort(stated, kind="stable")
    rising = stated[order]
    cuts = np.linspace(0, len(rising), bins + 1)[1:-1].astype(np.int64)
    # A cut within a run of equal values moves to the run's nearer end.
    low = np.searchsorted(rising, rising[cuts], side="left")
    high = np.searchsorted(rising, rising[cuts], side="right")
    edges = np.unique(np.r_[0, np.where(cuts - low <= high - cuts, low, high), len(rising)])
    count = np.diff(edges)
    sums = (np.add.reduceat(values[order], edges[:-1]) for values in (stated, came_true))
    mean_stated, mean_true = (total / count for total in sums)
    return Reliability(mean_stated, mean_true, count)


def calibration_error(probability: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error in [0, 1] of stated probabilities [n]."""
    return reliability(probability, right, bins).error


def error_by_chance(probability: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error that perfectly calibrated probabilities [n] would show.

    Small samples show some: bins of few pictures never come out even. Mean of 200 seeded draws.
    """
    stated = np.asarray(probability, np.float64)
    rng = np.random.default_rng(0)
    draws = rng.random((_DRAWS, len(stated))) < stated
    return float(np.mean([calibration_error(stated, came_true, bins) for came_true in draws]))


def brier(probability: ArrayLike, right: ArrayLike) -> float:
    """Mean squared difference between stated probability and what came true (Brier 1950)."""
    stated, came_true = _checked(probability, right)
    return float(np.mean((stated - came_true) ** 2))


@dataclass(frozen=True, eq=False)
class Rejection:
    """What each threshold [k] on the evidence costs, from accepting all to refusing all."""

    threshold: F64  # refused is what lies below
    false_reject: F64  # share of the pictures of the region that are refused
    false_accept: F64  # share of the pictures from elsewhere that are not

    @property
    def area(self) -> float:
        """Area under the curve in [0, 1]; 0.5 is chance.

        How often a picture of the region has more evidence than one from elsewhere, ties half.
        """
        return float(np.trapezoid(1.0 - self.false_reject, 1.0 - self.false_accept))


def rejection(inside: ArrayLike, outside: ArrayLike) -> Rejection:
    """The curve over all thresholds, from evidence of pictures of the region and from elsewhere."""
    kept, foreign = (np.sort(np.asarray(values, np.float64)) for values in (inside, outside))
    if not len(kept) or not len(foreign):
        raise InvalidValue("a curve needs pictures of the region and pictures from elsewhere.")
    threshold = np.r_[np.unique(np.r_[kept, foreign]), np.inf]
    return Rejection(threshold, _below(kept, threshold), 1.0 - _below(foreign, threshold))


def _below(rising: F64, thresholds: F64) -> F64:
    """Share [k] of the values that lie below each threshold."""
    count: I64 = np.asarray(np.searchsorted(rising, thresholds, side="left"))
    return count / len(rising)


def _checked(probability: ArrayLike, right: ArrayLike) -> tuple[F64, F64]:
    stated, came_true = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    require(
        stated.ndim == 1 and stated.shape == came_true.shape and len(stated) > 0,
        f"{stated.shape} probabilities, but {came_true.shape} outcomes.",
    )
    for values in (stated, came_true):
        require(
            bool(((values >= 0.0) & (values <= 1.0)).all()),
            "probabilities and outcomes lie in [0, 1].",
        )
    return stated, came_true
