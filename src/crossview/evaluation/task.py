"""A task: the queries, the gallery and who counts as right, from a table of pairs.

Both sides are put into the order of their ids, so that nothing depends on how a list is ordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F64, I64
from crossview.errors import BadData
from crossview.evaluation.relation import Pairs, Relation, within, words_of
from crossview.pairs.table import PairTable


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Q queries and R references of one split."""

    data: str  # as given: NAME:ROOT
    split: str
    root: str
    query_ids: tuple[str, ...]  # ascending
    reference_ids: tuple[str, ...]  # ascending
    query_rows: I64  # [Q] their rows on the asking side of the table
    reference_rows: I64  # [R]
    query_latlon: F64  # [Q, 2] NaN unknown
    reference_latlon: F64  # [R, 2]
    relation: Relation
    average_precision: bool  # is a usual figure here: a query may have several matches
    skipped: int = 0  # queries that could not be read


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a benchmark counts."""

    near_counts: bool = False  # near-misses above the match make its rank worse (VIGOR's R@k)
    radius_m: float = 0.0  # above 0: everything that near is right, not what is listed
    average_precision: bool = False  # told also where every query has one match (University-1652)


def task_of(table: PairTable, data: str, split: str, rules: Rules) -> Task:
    """The task of a table of pairs."""
    asking = ("ground", "aerial").index(table.queries)
    ids = (table.ground_ids(), table.aerial_ids())
    places = (table.ground_latlon, table.aerial_latlon)
    if not all(ids):
        raise BadData(f"{data}, split {split}: there are no pictures; is the split empty?")
    for side in ids:
        _refuse_repeats(side, data)
    orders = [np.argsort(np.array(side), kind="stable") for side in ids]
    numbers = [np.argsort(order) for order in orders]
    q, r = asking, 1 - asking

    def renumbered(pairs: I64) -> Pairs:
        return Pairs.of(np.stack([numbers[q][pairs[:, q]], numbers[r][pairs[:, r]]], axis=1))

    right, near = renumbered(table.pairs), renumbered(table.ignored)
    words = words_of(right, near, rules.near_counts)
    if rules.radius_m:
        right = within(places[q][orders[q]], places[r][orders[r]], rules.radius_m)
        near, words = Pairs.of(np.empty((0, 2), np.int64)), f"all within {rules.radius_m:g} m"
        if not len(right):
            raise BadData(f"{data}: no reference lies within {rules.radius_m:g} m of any query.")
    return Task(
        data=data,
        split=split,
        root=str(table.root),
        query_ids=tuple(ids[q][n] for n in orders[q]),
        reference_ids=tuple(ids[r][n] for n in orders[r]),
        query_rows=orders[q],
        reference_rows=orders[r],
        query_latlon=places[q][orders[q]],
        reference_latlon=places[r][orders[r]],
        relation=Relation(
            queries=len(ids[q]),
            references=len(ids[r]),
            right=right,
            near=near,
            near_counts=rules.near_counts,
            words=words,
        ),
        average_precision=rules.average_precision or len(np.unique(right.query)) < len(right),
    )


def skipping(task: Task, count: int) -> Task:
    """The same task, saying that ``count`` queries are missing."""
    return replace(task, skipped=count)


def _refuse_repeats(ids: Sequence[str], data: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise BadData(f"{data}: the picture {name!r} is listed twice.")
        seen.add(name)
