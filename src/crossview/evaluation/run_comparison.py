"""Several runs together: whether two really differ, and the mean of one over fields of view.

Two runs are compared over the queries that both answered, or over trainings. Queries that share a
match (a tile, a building, a place) are not independent, so their clusters are the unit; across
trainings the unit is the training. Comparisons that stand together are corrected together.

The headline of one model for every view is the mean over 360, 180, 90 and 70 degrees; SinGeo (Chen
et al., arXiv 2603.09377) ranks models by it. The same queries are asked at all four fields of view,
so their hits are averaged query by query before clusters are resampled: the interval is that of the
mean, not the mean of four intervals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview import stats
from crossview.arrays import I64, Bool
from crossview.errors import require
from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol
from crossview.evaluation.metrics import METRICS, OVER, RECALLS, mean_name, recall_cuts
from crossview.localization.accuracy import mark_hits
from crossview.locks import write_alone

ALPHA = 0.05
POWER = 0.8  # chance of noticing a difference of the size told as detectable
FIELDS_DEG = (360.0, 180.0, 90.0, 70.0)
FIELDS_WORDS = "360, 180, 90 and 70 degrees"
MEANS_NAME = "means.json"
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
    ends = stats.cluster_intervals(values, clusters)
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
