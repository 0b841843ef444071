"""Do the masks of two views of one place say the same? Correlation, matched against unmatched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64
from crossview.explain.masks import Masks, others
from crossview.stats import cluster_interval


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Mean correlations over pairs, each (value, low, high) with a 95 % interval over pairs.

    ``own_*``: after the mean mask of each side is taken away, so that what all places have in
    common (a horizon, a vignette) does not count.
    """

    pairs: int
    matched: tuple[float, float, float]
    unmatched: tuple[float, float, float]
    own_matched: tuple[float, float, float]
    own_unmatched: tuple[float, float, float]
    separated: float  # chance that a matched pair correlates more than an unmatched one, "own"


def alignment(masks: Masks, seed: int = 0) -> Alignment:
    """Correlate mask k of the ground with mask k from above, position by position, mean over k."""
    away = others(len(masks.ground), seed)
    ground, aerial = (_flat(m) for m in (masks.ground, masks.aerial))
    own_ground, own_aerial = (m - m.mean(axis=0) for m in (ground, aerial))
    own = correlations(own_ground, own_aerial), correlations(own_ground[away], own_aerial)
    return Alignment(
        pairs=len(ground),
        matched=_mean(correlations(ground, aerial)),
        unmatched=_mean(correlations(ground[away], aerial)),
        own_matched=_mean(own[0]),
        own_unmatched=_mean(own[1]),
        separated=_chance_of_more(*own),
    )


def correlations(first: F64, second: F64) -> F64:
    """[N] mean over k of Pearson's correlation over positions of [N, K, P] and [N, K, P].

    A mask that is the same everywhere correlates with nothing: 0.
    """
    one, two = (m - m.mean(axis=2, keepdims=True) for m in (first, second))
    scale = np.sqrt((one**2).sum(axis=2) * (two**2).sum(axis=2))
    products = (one * two).sum(axis=2)
    found: F64 = np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12)
    return np.asarray(found.mean(axis=1))


def _flat(maps: F32) -> F64:
    return maps.reshape(*maps.shape[:2], -1).astype(np.float64)


def _mean(values: F64) -> tuple[float, float, float]:
    low, high = cluster_interval(values, np.arange(len(values)))
    return float(values.mean()), low, high


def _chance_of_more(more: F64, less: F64) -> float:
    """Of a random one of ``more`` being larger than a random one of ``less``; ties count half."""
    ordered = np.sort(less)
    below = np.searchsorted(ordered, more, "left") + np.searchsorted(ordered, more, "right")
    return float(below.mean() / (2 * len(less)))
