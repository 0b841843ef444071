"""Results from elsewhere: vectors of any framework, or the lists of a re-ranker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crossview.arrays import F64, I64
from crossview.errors import BadData
from crossview.evaluation.answers import TIE, Answers, answers_of, best_match
from crossview.evaluation.evaluation_record import BEST
from crossview.evaluation.fast_scores import Plain
from crossview.evaluation.ranking import Ranks
from crossview.evaluation.task import Task
from crossview.evaluation.vectors import check_spread, in_order, read_embeddings, same_model
from crossview.lists import name_key, read_table

COLUMNS = ("query", "reference", "score")


def answers_of_vectors(task: Task, queries: Path, references: Path) -> tuple[Answers, list[str]]:
    """Compare two files of vectors (cosine); the warnings that they deserve come along."""
    sides = [read_embeddings(queries), read_embeddings(references)]
    same_model(*sides)
    q = in_order(sides[0], task.query_ids, str(queries))
    r = in_order(sides[1], task.reference_ids, str(references))
    if not sides[0].ids:  # in the order of the list, not of the ids
        q = q[task.query_rows]
    if not sides[1].ids:
        r = r[task.reference_rows]
    warnings = [check_spread(q, str(queries)), check_spread(r, str(references))]
    return answers_of(Plain(q, r), task), [text for text in warnings if text]


def answers_of_ranking(task: Task, path: Path) -> Answers:
    """From a list ``query,reference,score`` (higher is better; equal scores are ties).

    A query may list fewer references than there are. What it does not list counts as no better
    than a match that it lists, and as better than one that it does not.
    """
    query, reference, score = _read(task, path)
    right = task.relation.right
    own = _of_pairs(task, (query, reference, score), right.query, right.reference)
    above = np.full(len(right), task.relation.references, dtype=np.int64)
    near_above = np.zeros(len(right), dtype=np.int64)
    codes = _codes(task, query, reference)
    wrong = ~np.isin(codes, _codes(task, right.query, right.reference))
    near = np.isin(codes, _codes(task, task.relation.near.query, task.relation.near.reference))
    for kind, counts in ((wrong & ~near, above), (near, near_above)):
        listed = np.isfinite(own)
        counts[listed] = _at_least(query[kind], score[kind], right.query[listed], own[listed] - TIE)
    ranks = Ranks(relation=task.relation, score=own, above=above, near_above=near_above)
    best, best_score = _first(task.relation.queries, query, reference, score - TIE * ~wrong)
    return Answers(
        ranks=ranks,
        distractors_above=None,
        truth=best_match(ranks),
        best=best,
        best_score=best_score,
        unmatched_score=np.full(task.relation.queries, np.nan),
    )


def _read(task: Task, path: Path) -> tuple[I64, I64, F64]:
    """Query and reference numbers and scores, sorted by query, best first."""
    rows = list(_rows(task, path))
    if not rows:
        raise BadData(f"{path} ranks nothing: it has no row below its header.")
    query, reference, line = (np.array([r[n] for r in rows], dtype=np.int64) for n in (0, 1, 3))
    score = np.array([row[2] for row in rows], dtype=np.float64)
    codes = _codes(task, query, reference)
    if len(np.unique(codes)) < len(codes):
        first = int(np.setdiff1d(np.arange(len(codes)), np.unique(codes, return_index=True)[1])[0])
        raise BadData(
            f"{path}, line {line[first]}: this reference was ranked for this query before."
        )
    missing = np.setdiff1d(np.arange(len(task.query_ids)), query)
    if len(missing):
        raise BadData(
            f"{path} ranks nothing for {len(missing)} of {len(task.query_ids)} queries, the first "
            f"is {task.query_ids[missing[0]]!r}."
        )
    order = np.lexsort((-score, query))
    return query[order], reference[order], score[order]


def _rows(task: Task, path: Path) -> Iterator[tuple[int, int, float, int]]:
    """Query and reference numbers, score and line of every row of a list of rankings."""
    known = {
        name: {name_key(one): n for n, one in enumerate(ids)}
        for name, ids in (("query", task.query_ids), ("reference", task.reference_ids))
    }
    for row in read_table(path, needed=COLUMNS, what="list of rankings"):
        numbers = []
        for name, ids in known.items():
            text = row.text(name)
            number = ids[text] if text in ids else ids.get(name_key(text))
            if number is None:
                raise BadData(
                    f"{row.where}: the data set has no {name} {text!r}, but {next(iter(ids))!r}."
                )
            numbers.append(number)
        score = row.number("score")
        if math.isnan(score):
            raise BadData(f"{row.where}: score is empty.")
        yield numbers[0], numbers[1], score, row.line


def _codes(task: Task, query: I64, reference: I64) -> I64:
    codes: I64 = query * task.relation.references + reference
    return codes


def _of_pairs(task: Task, listed: tuple[I64, I64, F64], query: I64, reference: I64) -> F64:
    """Scores of pairs; minus infinity where they are not listed."""
    codes = _codes(task, listed[0], listed[1])
    order = np.argsort(codes)
    wanted = _codes(task, query, reference)
    at = np.minimum(np.searchsorted(codes[order], wanted), len(codes) - 1)
    return np.where(codes[order][at] == wanted, listed[2][order][at], -np.inf)


def _at_least(query: I64, score: F64, asked: I64, least: F64) -> I64:
    """How many entries of a query's list (sorted by query, best first) reach each threshold."""
    counts = np.empty(len(asked), dtype=np.int64)
    for n, (one, threshold) in enumerate(zip(asked, least, strict=True)):
        own = score[np.searchsorted(query, one, "left") : np.searchsorted(query, one, "right")]
        counts[n] = np.count_nonzero(own >= threshold)
    return counts


def _first(queries: int, query: I64, reference: I64, key: F64) -> tuple[I64, F64]:
    """The ten best of every query; -1 and NaN beyond its list."""
    order = np.lexsort((reference, -key, query))
    start = np.searchsorted(query[order], np.arange(queries))
    place = np.arange(len(order)) - start[query[order]]
    some = order[place < BEST]
    best, score = np.full((queries, BEST), -1, dtype=np.int64), np.full((queries, BEST), np.nan)
    best[query[some], place[place < BEST]] = reference[some]
    score[query[some], place[place < BEST]] = key[some]
    return best, score
