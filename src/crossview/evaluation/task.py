"""A task: the queries, the gallery and who counts as right, from a table of pairs.

Both sides are put into the order of their ids, so that nothing depends on how a list is ordered.

Who counts as right for a query: one relation serves every benchmark.

One to one (CVUSA, CVACT), many to one with near-misses (VIGOR's semi-positives), many to many
(University-1652), and everything within a radius (the 5-metre rule of CVACT_test, Liu & Li 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import F64, I64
from crossview.errors import BadData, require
from crossview.geo.points import EARTH_RADIUS_M, measure_pair_distances_m
from crossview.pairs.table import PairTable

_AT_ONCE = 4_000_000  # distances
_SPARE = 1.001  # of the latitude window, for rounding


@dataclass(frozen=True, eq=False)
class Pairs:
    """Query and reference numbers, sorted by query, then reference, without repeats."""

    query: I64  # [P]
    reference: I64  # [P]

    def __len__(self) -> int:
        return len(self.query)

    @staticmethod
    def of(pairs: NDArray[np.integer]) -> Pairs:
        """From [P, 2] in any order, with or without repeats."""
        ordered = np.unique(np.asarray(pairs, dtype=np.int64).reshape(-1, 2), axis=0)
        return Pairs(ordered[:, 0].copy(), ordered[:, 1].copy())


@dataclass(frozen=True, kw_only=True, eq=False)
class Relation:
    """Q queries, R references; ``right`` are matches, ``near`` are near-misses.

    A reference is right, near or wrong for a query. ``near_counts`` says whether a near-miss
    ranked above the match makes the rank worse (VIGOR's R@k) or is left out; the hit rate always
    leaves it out.
    """

    queries: int
    references: int
    right: Pairs
    near: Pairs
    near_counts: bool = False
    words: str = "listed matches"

    def __post_init__(self) -> None:
        for name, pairs in (("match", self.right), ("near-miss", self.near)):
            inside = (pairs.query >= 0) & (pairs.query < self.queries)
            inside &= (pairs.reference >= 0) & (pairs.reference < self.references)
            if not inside.all():
                raise BadData(
                    f"a {name} points outside {self.queries} queries and "
                    f"{self.references} references."
                )
        right, near = (p.query * self.references + p.reference for p in (self.right, self.near))
        if np.isin(right, near).any():
            raise BadData("a reference is a match and a near-miss of the same query.")

    def clusters(self) -> I64:
        """[Q] queries with the same first match share a number (a tile, a building, a place)."""
        numbers = self.references + np.arange(self.queries, dtype=np.int64)
        query, first = np.unique(self.right.query, return_index=True)
        numbers[query] = self.right.reference[first]
        return numbers

    def distractors(self) -> I64:
        """References that match no query at all, ascending."""
        matched = np.zeros(self.references, dtype=bool)
        matched[self.right.reference] = True
        return np.flatnonzero(~matched)

    def chance(self, k: int) -> float:
        """The share of queries that random ranking would put a match of among the first ``k``."""
        right = np.bincount(self.right.query, minlength=self.queries)
        near = 0 if self.near_counts else np.bincount(self.near.query, minlength=self.queries)
        ranked = np.maximum(self.references - near, 1)
        missed = np.ones(self.queries)
        for place in range(min(k, self.references)):
            missed *= np.clip((ranked - right - place) / np.maximum(ranked - place, 1), 0.0, 1.0)
        return float((1.0 - missed).mean()) if self.queries else 0.0


def describe_relation(right: Pairs, near: Pairs, near_counts: bool) -> str:
    """The kind of relation in words, as tables name it."""
    per_query = len(right) > len(np.unique(right.query))
    per_reference = len(right) > len(np.unique(right.reference))
    kind = f"{'many' if per_reference else 'one'} to {'many' if per_query else 'one'}"
    if not len(near):
        return kind
    return f"{kind}, near-misses {'count as wrong' if near_counts else 'left out'}"


def find_pairs_within(queries: F64, references: F64, radius_m: float) -> Pairs:
    """Pairs at most ``radius_m`` apart on the ground; places [Q, 2] and [R, 2] in degrees.

    Great-circle distances. Only references in the band of latitudes that can be near enough are
    looked at, so a city of 92,802 places takes seconds. Unknown places (NaN) are near nothing.
    """
    require(radius_m > 0.0, f"a radius must be above 0 metres, got {radius_m:g}.")
    placed = np.flatnonzero(np.isfinite(references).all(axis=1))
    order = placed[np.argsort(references[placed, 0], kind="stable")]
    asked = np.flatnonzero(np.isfinite(queries).all(axis=1))
    reach = np.degrees(radius_m / EARTH_RADIUS_M) * _SPARE
    low = np.searchsorted(references[order, 0], queries[asked, 0] - reach, "left")
    high = np.searchsorted(references[order, 0], queries[asked, 0] + reach, "right")
    blocks = [np.empty((0, 2), np.int64)]
    for block in _parts(high - low):
        counts = high[block] - low[block]
        q = np.repeat(asked[block], counts)
        starts = np.repeat(low[block] - (np.cumsum(counts) - counts), counts)
        r = order[starts + np.arange(counts.sum())]
        near = measure_pair_distances_m(queries[q], references[r]) <= radius_m
        blocks.append(np.stack([q[near], r[near]], axis=1))
    return Pairs.of(np.concatenate(blocks))


def _parts(counts: I64) -> Iterator[slice]:
    """Slices of rows whose counts add up to about ``_AT_ONCE``."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE)))
        yield slice(start, stop)
        start = stop


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


def make_task(table: PairTable, data: str, split: str, rules: Rules) -> Task:
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
    words = describe_relation(right, near, rules.near_counts)
    if rules.radius_m:
        right = find_pairs_within(places[q][orders[q]], places[r][orders[r]], rules.radius_m)
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


def skip_queries(task: Task, count: int) -> Task:
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
