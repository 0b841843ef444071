"""The planned contrasts of a study: one primary, the others under Holm.

Two rows are compared over what both were asked: seeds, towns and queries. An interval must say what
other seeds *and* other towns *and* other queries would have given, so a resample draws all three
with replacement; both rows are drawn alike. With three seeds and three towns such intervals are
wide, as they should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F64
from crossview.errors import require
from crossview.localization import accuracy as truth
from crossview.stats import RESAMPLES, holm
from crossview.studies.study import Planned, Result


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Second minus first row, in points of the planned measure."""

    first: str
    second: str
    primary: bool
    difference: float
    low: float
    high: float
    p: float  # two-sided, of the resamples
    p_holm: float  # among the secondary contrasts; that of the primary is its p
    seeds: int
    towns: int
    queries: int


def compute_planned_contrasts(
    planned: Planned, rows: Mapping[str, Sequence[Result]], *, seed: int = 0
) -> list[Contrast]:
    """Those contrasts whose two rows share at least two seeds; the primary comes first."""
    pairs = [planned.primary, *planned.secondary]
    contrasts = [c for pair in pairs if (c := _contrast(planned, pair, rows, seed))]
    return _corrected(contrasts)


def hits(result: Result, planned: Planned) -> F64:
    """Mean over the planned tests of each query's hit, in percent [Q]."""
    k = int(planned.measure.removeprefix("R@"))
    ranks = np.array([result.ranks[test] for test in planned.tests])
    shares: F64 = 100.0 * truth.mark_hits(ranks, k).mean(axis=0)
    return shares


def _contrast(
    planned: Planned, pair: tuple[str, str], rows: Mapping[str, Sequence[Result]], seed: int
) -> Contrast | None:
    one, two = ({r.seed: r for r in rows.get(name, ())} for name in pair)
    seeds = sorted(set(one) & set(two))
    if len(seeds) < 2:
        return None
    differences = np.stack([hits(two[s], planned) - hits(one[s], planned) for s in seeds])
    towns = _towns(one[seeds[0]], planned)
    drawn = resample_means(differences, towns, seed=seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    tail = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    return Contrast(
        first=pair[0],
        second=pair[1],
        primary=pair == planned.primary,
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        p=min(1.0, 2.0 * max(tail, 1.0 / RESAMPLES)),
        p_holm=float("nan"),
        seeds=len(seeds),
        towns=len(set(towns)),
        queries=differences.shape[1],
    )


def _towns(result: Result, planned: Planned) -> list[str]:
    """The town of every query; all planned tests are fields of view of one table."""
    tables = {test.partition(",")[0] for test in planned.tests}
    require(len(tables) == 1, f"planned tests must share their queries, got {sorted(tables)}.")
    return list(result.towns[tables.pop()])


def resample_means(differences: F64, towns: Sequence[str], *, seed: int = 0) -> F64:
    """Means [RESAMPLES] of ``differences`` [S, Q] with seeds, towns and queries redrawn.

    Queries are redrawn within their town, so a town weighs as many queries as it has.
    """
    rng = np.random.default_rng(seed)
    names = sorted(set(towns))
    columns = [np.flatnonzero(np.asarray(towns) == name) for name in names]
    means = np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        rows = rng.integers(0, len(differences), len(differences))
        chosen = [columns[i] for i in rng.integers(0, len(names), len(names))]
        queries = np.concatenate([rng.choice(of, len(of)) for of in chosen])
        means[draw] = differences[np.ix_(rows, queries)].mean()
    return means


def _corrected(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The secondary ones by Holm among themselves; the primary was named in advance."""
    others = iter(holm([c.p for c in contrasts if not c.primary]))
    return [replace(c, p_holm=c.p if c.primary else next(others)) for c in contrasts]
