"""The headline of one model for every view: the mean over 360, 180, 90 and 70 degrees.

SinGeo (Chen et al., arXiv 2603.09377) ranks models by it. The same queries are asked at all four
fields of view, so their hits are averaged query by query before clusters are resampled: the
interval is that of the mean, not the mean of four intervals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import I64, Bool
from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol
from crossview.evaluation.metrics import METRICS, OVER, RECALLS, mean_name, recall_cuts
from crossview.localization.accuracy import mark_hits
from crossview.locks import write_alone
from crossview.stats import cluster_intervals

FIELDS_DEG = (360.0, 180.0, 90.0, 70.0)
FIELDS_WORDS = "360, 180, 90 and 70 degrees"
MEANS_NAME = "means.json"


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
    ends = cluster_intervals(values, clusters)
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
