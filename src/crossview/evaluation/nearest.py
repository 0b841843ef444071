"""The best references of every query, exact, tile by tile: for galleries and metres."""

from __future__ import annotations

import numpy as np

from crossview.arrays import F64, I64
from crossview.evaluation.fast_scores import TILE, Filter, Space
from crossview.evaluation.ranking import QUERIES_PER_TILE, TIE
from crossview.evaluation.relation import Pairs


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
        best[rows], score[rows] = _of_block(space, fast, rows, k, codes)
    return best, score


def _of_block(space: Space, fast: Filter, rows: slice, k: int, codes: I64) -> tuple[I64, F64]:
    """``codes``: query * R + reference of every match."""
    queries = np.arange(rows.start, rows.stop)
    best = np.full((len(queries), k), -1, dtype=np.int64)
    key = np.full(best.shape, -np.inf)
    least = _starting_threshold(space, fast, rows, k)
    for number in range(-(-space.shape[1] // TILE)):
        low, _ = fast.cuts(queries, least - TIE)
        column, row = np.nonzero(fast.tile(rows, number) >= low)
        reference = number * TILE + column
        found = space.exact(queries[row], reference)
        found -= TIE * np.isin(queries[row] * space.shape[1] + reference, codes)
        best, key = _merged(best, key, row, reference, found)
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


def _merged(best: I64, key: F64, row: I64, reference: I64, found: F64) -> tuple[I64, F64]:
    """The k best per row of what was kept [n, k] and what was found [N] in ``row`` [N]."""
    count, k = best.shape
    rows = np.concatenate([np.repeat(np.arange(count), k), row])
    references = np.concatenate([best.ravel(), reference])
    keys = np.concatenate([key.ravel(), found])
    order = np.lexsort((references, -keys, rows))
    first = np.searchsorted(rows[order], np.arange(count))
    kept = order[(first[:, None] + np.arange(k)).ravel()]
    return references[kept].reshape(count, k), keys[kept].reshape(count, k)
