"""Exact ranks without the matrix of queries and references: tiles are compared and counted.

The rank of a match counts every other reference that is better or equal; scores within 1e-12 of
each other (float64, of the stored vectors) are equal, and ties go against the query.

The best references of every query, exact, tile by tile: for galleries and metres.

What a run answered: ranks, best references and scores, ready to be measured.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64, AnyArray
from crossview.errors import require
from crossview.evaluation.evaluation_record import BEST
from crossview.evaluation.fast_scores import TILE, Filter, Space
from crossview.evaluation.task import Pairs, Relation, Task

TIE = 1e-12
QUERIES_PER_TILE = 256
_PROBES = 1024  # thresholds per tile, unless one query alone has more
_UNSURE = 0.005  # share of a tile from which a finer filter is cheaper than single products
_PATIENCE = 8  # tiles after which a filter that mostly fails is given up


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranks:
    """What is known of every match and every query."""

    relation: Relation
    score: F64  # [P] of each match, float64
    above: I64  # [P] wrong references at least as good; near-misses left out
    near_above: I64  # [P] near-misses at least as good

    def of_queries(self) -> I64:
        """[Q] rank of the best match, from 1; 0 where there is none.

        Near-misses count if ``relation.near_counts``.
        """
        return self._best(self.worse())

    def of_queries_without(self, gone: I64) -> I64:
        """[Q] as :meth:`of_queries`, ``gone`` [P] references above each match taken out."""
        return self._best(self.worse() - gone)

    def worse(self) -> I64:
        """[P] references that count against each match."""
        return self.above + self.near_above if self.relation.near_counts else self.above

    def without_near_misses(self) -> I64:
        """[Q] as :meth:`of_queries`, with near-misses left out in any case (the hit rate's)."""
        return self._best(self.above)

    def best_scores(self) -> F64:
        """[Q] score of the best match; NaN where there is none."""
        best = np.full(self.relation.queries, -np.inf)
        np.maximum.at(best, self.relation.right.query, self.score)
        return np.where(np.isfinite(best), best, np.nan)

    def _best(self, worse: I64) -> I64:
        none = np.iinfo(np.int64).max
        best = np.full(self.relation.queries, none)
        np.minimum.at(best, self.relation.right.query, worse)
        return np.where(best == none, 0, best + 1)


def rank(space: Space, relation: Relation) -> Ranks:
    """Ranks of all matches; every reference is compared, none is sampled."""
    require(
        space.shape == (relation.queries, relation.references),
        f"{space.shape[0]} query and {space.shape[1]} reference vectors do not fit a relation of "
        f"{relation.queries} queries and {relation.references} references.",
    )
    right = relation.right
    score = space.exact(right.query, right.reference)
    least = score - TIE
    above = count_at_least(space, right.query, least)
    above -= _among(space, relation.right, right, least)
    near_above = _among(space, relation.near, right, least)
    return Ranks(relation=relation, score=score, above=above - near_above, near_above=near_above)


def count_at_least(space: Space, queries: I64, thresholds: F64) -> I64:
    """[N] how many references score at least ``thresholds`` [N] for ``queries`` [N], ascending."""
    counts = np.zeros(len(queries), dtype=np.int64)
    cascade = _Cascade(space)
    tiles = range(-(-space.shape[1] // TILE))
    for block in _parts(queries):
        for number in tiles:
            counts[block] += cascade.count(number, queries[block], thresholds[block])
    return counts


class _Cascade:
    """The filters of a space, coarse first; one that leaves too much unsure is given up."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._makers = space.filters()
        self._filters: list[Filter | None] = [None] * len(self._makers)
        self._tiles = self._failed = 0

    def count(self, number: int, queries: I64, thresholds: F64) -> I64:
        """References of tile ``number`` at or above each threshold."""
        if self._failed > max(self._tiles // 2, _PATIENCE):
            del self._makers[0], self._filters[0]
            self._tiles = self._failed = 0
        self._tiles += 1
        for level in range(len(self._makers)):
            counts, row, column = _compare(self._filter(level), number, queries, thresholds)
            if len(row) <= max(_UNSURE * len(queries) * TILE, TILE):
                break
            self._failed += level == 0
        exact = self._space.exact(queries[row], number * TILE + column)
        wrong = row[exact < thresholds[row]]
        counted: I64 = counts - np.bincount(wrong, minlength=len(counts))
        return counted

    def _filter(self, level: int) -> Filter:
        chosen = self._filters[level]
        if chosen is None:
            chosen = self._filters[level] = self._makers[level]()
        return chosen


def _compare(fast: Filter, number: int, queries: I64, thresholds: F64) -> tuple[I64, I64, I64]:
    """How many values of a tile may reach each threshold [N], and which of them are unsure.

    The unsure ones as numbers of thresholds and of references in the tile.
    """
    values = _spread(fast.tile(slice(queries[0], queries[-1] + 1), number), queries)
    low, high = fast.cuts(queries, thresholds)
    reached = values >= low
    counts = reached.sum(axis=0, dtype=np.int32).astype(np.int64)
    if counts.sum() > _UNSURE * values.size:
        reached &= values < high  # a pass over the tile, which few values would not be worth
    flat = np.flatnonzero(reached)
    reference, row = np.divmod(flat, values.shape[1])
    unsure = values[reference, row] < high[row]
    return counts, row[unsure], reference[unsure]


def _spread(values: AnyArray, queries: I64) -> AnyArray:
    """One column per threshold from one column per query."""
    rows = queries - queries[0]
    whole = len(rows) == values.shape[1] and rows[-1] == len(rows) - 1
    return values if whole and (np.diff(rows) == 1).all() else values[:, rows]


def _parts(queries: I64) -> Iterator[slice]:
    """Slices of an ascending list that hold few queries and few entries."""
    start = 0
    while start < len(queries):
        stop = int(np.searchsorted(queries, queries[start] + QUERIES_PER_TILE))
        stop = min(stop, start + _PROBES)
        yield slice(start, stop)
        start = stop


def _among(space: Space, others: Pairs, probes: Pairs, least: F64) -> I64:
    """[P] how many of a query's ``others`` reach each threshold of its ``probes``."""
    scores = space.exact(others.query, others.reference)
    first = np.searchsorted(others.query, probes.query, "left")
    counts = np.searchsorted(others.query, probes.query, "right") - first
    probe = np.repeat(np.arange(len(probes)), counts)
    other = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    reached = probe[scores[other] >= least[probe]]
    return np.bincount(reached, minlength=len(probes)).astype(np.int64)


def nearest(space: Space, right: Pairs, k: int) -> tuple[I64, F64]:
    """Reference numbers [Q, k], best first, and their exact scores; -1 and NaN beyond R.

    A match that ties with another reference comes after it; else the lower number comes first.
    """
    count, references = space.shape
    best = np.full((count, k), -1, dtype=np.int64)
    score = np.full((count, k), np.nan)
    fast = space.filters()[0]()
    codes = right.query * references + right.reference
    for start in range(0, count, QUERIES_PER_TILE):
        rows = slice(start, min(start + QUERIES_PER_TILE, count))
        best[rows], score[rows] = _rank_block(space, fast, rows, k, codes)
    return best, score


def _rank_block(space: Space, fast: Filter, rows: slice, k: int, codes: I64) -> tuple[I64, F64]:
    """``codes``: query * R + reference of every match."""
    queries = np.arange(rows.start, rows.stop)
    best = np.full((len(queries), k), -1, dtype=np.int64)
    key = np.full(best.shape, -np.inf)
    least = _starting_threshold(space, fast, rows, k)
    for number in range(-(-space.shape[1] // TILE)):
        low, _ = fast.cuts(queries, least - TIE)
        column, row = np.nonzero(fast.tile(rows, number) >= low)
        reference = number * TILE + column
        scores = space.exact(queries[row], reference)
        scores -= TIE * np.isin(queries[row] * space.shape[1] + reference, codes)
        best, key = _merge(best, key, row, reference, scores)
        least = np.maximum(least, key[:, -1])
    return best, np.where(best >= 0, key, np.nan)


def _starting_threshold(space: Space, fast: Filter, rows: slice, k: int) -> F64:
    """[n] a score that at least ``k`` references of the first tile reach."""
    values = fast.tile(rows, 0).T
    if values.shape[1] <= k:
        return np.full(len(values), -np.inf)
    column = np.argpartition(values, -k, axis=1)[:, -k:].ravel()
    query = np.repeat(np.arange(rows.start, rows.stop), k)
    lowest: F64 = space.exact(query, column).reshape(-1, k).min(axis=1)
    return lowest


def _merge(best: I64, key: F64, row: I64, reference: I64, scores: F64) -> tuple[I64, F64]:
    """The k best per row of what was kept [n, k] and what was found [N] in ``row`` [N]."""
    count, k = best.shape
    rows = np.concatenate([np.repeat(np.arange(count), k), row])
    references = np.concatenate([best.ravel(), reference])
    keys = np.concatenate([key.ravel(), scores])
    order = np.lexsort((references, -keys, rows))
    first = np.searchsorted(rows[order], np.arange(count))
    kept = order[(first[:, None] + np.arange(k)).ravel()]
    return references[kept].reshape(count, k), keys[kept].reshape(count, k)


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedQueries:
    """Of Q queries; see :class:`crossview.evaluation.evaluation_record.Queries`."""

    ranks: Ranks
    distractors_above: I64 | None  # [P] distractors at least as good; None: not asked
    truth: I64  # [Q] the best match; -1 without one
    best: I64  # [Q, 10]
    best_score: F64  # [Q, 10]
    unmatched_score: F64  # [Q] of a wrong reference drawn at random; NaN without one


def rank_queries(space: Space, task: Task) -> RankedQueries:
    """Compare everything in ``space``, whose rows are those of ``task``."""
    relation = task.relation
    ranks = rank(space, relation)
    best, best_score = nearest(space, relation.right, BEST)
    drawn = draw_wrong(task)
    unmatched = np.full(relation.queries, np.nan)
    drawn_rows = np.flatnonzero(drawn >= 0)
    unmatched[drawn_rows] = space.exact(drawn_rows, drawn[drawn_rows])
    return RankedQueries(
        ranks=ranks,
        distractors_above=_distractors_above(space, ranks) if task.average_precision else None,
        truth=best_match(ranks),
        best=best,
        best_score=best_score,
        unmatched_score=unmatched,
    )


def best_match(ranks: Ranks) -> I64:
    """[Q] the match with the highest score, the lower number of equals; -1 without one."""
    right = ranks.relation.right
    order = np.lexsort((right.reference, -ranks.score, right.query))
    query, first = np.unique(right.query[order], return_index=True)
    best = np.full(ranks.relation.queries, -1, dtype=np.int64)
    best[query] = right.reference[order][first]
    return best


def draw_wrong(task: Task) -> I64:
    """[Q] a wrong reference of each query, drawn by the query's id; -1 where all are right."""
    relation = task.relation
    drawn = np.array([zlib.crc32(name.encode()) for name in task.query_ids], dtype=np.int64)
    drawn %= relation.references
    taken = _codes(relation)
    for _ in range(relation.references):
        hit = np.isin(np.arange(relation.queries) * relation.references + drawn, taken)
        if not hit.any():
            return drawn
        drawn = np.where(hit, (drawn + 1) % relation.references, drawn)
    return np.where(hit, -1, drawn)


def _codes(relation: Relation) -> I64:
    both = (relation.right, relation.near)
    return np.concatenate([p.query * relation.references + p.reference for p in both])


def _distractors_above(space: Space, ranks: Ranks) -> I64:
    distractors, right = ranks.relation.distractors(), ranks.relation.right
    if not len(distractors):
        return np.zeros(len(right), dtype=np.int64)
    return count_at_least(space.only(distractors), right.query, ranks.score - TIE)
