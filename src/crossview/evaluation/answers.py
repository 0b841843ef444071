"""What a run answered: ranks, best references and scores, ready to be measured."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64
from crossview.evaluation.evaluation_record import BEST
from crossview.evaluation.fast_scores import Space
from crossview.evaluation.nearest import nearest
from crossview.evaluation.ranking import Ranks, count_at_least, rank
from crossview.evaluation.relation import Relation
from crossview.evaluation.task import Task

TIE = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Of Q queries; see :class:`crossview.evaluation.evaluation_record.Queries`."""

    ranks: Ranks
    distractors_above: I64 | None  # [P] distractors at least as good; None: not asked
    truth: I64  # [Q] the best match; -1 without one
    best: I64  # [Q, 10]
    best_score: F64  # [Q, 10]
    unmatched_score: F64  # [Q] of a wrong reference drawn at random; NaN without one


def answers_of(space: Space, task: Task) -> Answers:
    """Compare everything in ``space``, whose rows are those of ``task``."""
    relation = task.relation
    ranks = rank(space, relation)
    best, best_score = nearest(space, relation.right, BEST)
    drawn = drawn_wrong(task)
    unmatched = np.full(relation.queries, np.nan)
    known = np.flatnonzero(drawn >= 0)
    unmatched[known] = space.exact(known, drawn[known])
    return Answers(
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


def drawn_wrong(task: Task) -> I64:
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
