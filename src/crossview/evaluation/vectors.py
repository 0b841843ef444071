"""Embeddings: checked unit vectors with ids, made here or by any other program.

Results from elsewhere: vectors of any framework, or the lists of a re-ranker.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import F32, F64, I64
from crossview.errors import BadData, ModelMismatch
from crossview.evaluation.evaluation_record import BEST
from crossview.evaluation.fast_scores import Plain
from crossview.evaluation.ranking import TIE, RankedQueries, Ranks, best_match, rank_queries
from crossview.evaluation.task import Task
from crossview.lists import name_key, read_table
from crossview.schema import read_arrays

PARTS = ("vectors", "ids", "fingerprint")  # of a .npz
COLLAPSED = 1e-6  # mean of 1 - cos over pairs; below, vectors tell nothing apart
NEARLY_COLLAPSED = 1e-3  # below, a warning
LONGEST = 1e30  # that float32 holds with room to spare
LARGEST_ITEM = 8  # bytes of a float64: longer floats differ from machine to machine


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
    """One side: unit rows, an id per row, and what made them."""

    vectors: F32  # [N, D]
    ids: tuple[str, ...]  # N; empty: in the order of the data set's list
    fingerprint: str = ""  # of the model; empty: not recorded


def read_embeddings(path: Path) -> Embeddings:
    """A ``.npy`` [N, D], or a ``.npz`` with ``vectors`` [N, D], ``ids`` [N], ``fingerprint``.

    The last two may be absent; nothing is unpickled. Rows are scaled to length 1.

    Raises :class:`BadData` that names the file (and the row) for anything that cannot be ranked.
    """
    held = _arrays(path)
    vectors = normalize_rows(held["vectors"], str(path))
    ids = held.get("ids", np.empty(0, str))
    if ids.ndim != 1 or ids.dtype.kind not in "USiu":
        raise BadData(f"{path}: expected ids as texts [N], got {ids.dtype} {list(ids.shape)}.")
    if len(ids) not in (0, len(vectors)):
        raise BadData(f"{path} holds {len(ids)} ids for {len(vectors)} vectors.")
    fingerprint = str(held.get("fingerprint", ""))
    names = tuple(str(n, "utf-8", "replace") if isinstance(n, bytes) else str(n) for n in ids)
    return Embeddings(vectors=vectors, ids=names, fingerprint=fingerprint)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; the one of a ``.npy`` is called vectors."""
    try:
        if not zipfile.is_zipfile(path):
            return {"vectors": np.load(path, allow_pickle=False)}
        held = read_arrays(path)
    except Exception as problem:  # numpy raises whatever damaged bytes lead to
        reason = (str(problem).splitlines() or [type(problem).__name__])[0][:200]
        raise BadData(f"{path} cannot be read as .npy or .npz: {reason}.") from problem
    if "vectors" not in held:
        raise BadData(
            f"{path} has no array named vectors; it has {', '.join(held)[:200] or 'none'}.\n"
            "Expected vectors [N, D], ids [N] and perhaps fingerprint."
        )
    return {name: held[name] for name in PARTS if name in held}


def normalize_rows(vectors: NDArray[Any], where: str) -> F32:
    """Rows of length 1 as float32; refuses what is no [N, D] of finite, non-zero rows."""
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise BadData(
            f"{where}: expected vectors of floats [N, D], got {vectors.dtype} "
            f"{list(vectors.shape)}."
        )
    if vectors.dtype.itemsize > LARGEST_ITEM:
        vectors = vectors.astype(np.float64)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise BadData(
            f"{where}: {len(broken)} of {len(vectors)} vectors hold NaN or infinity, the first in "
            f"row {broken[0]}.\nThe model is broken, or computed in too low a precision."
        )
    lengths = _lengths(vectors)
    zero = np.flatnonzero(lengths < 1e-12)
    if len(zero):
        raise BadData(
            f"{where}: {len(zero)} of {len(vectors)} vectors are zero, the first in row {zero[0]}."
        )
    if not lengths.max() < LONGEST:  # float32 would make them infinite, and then nothing
        vectors = vectors / np.abs(vectors).max(axis=1, keepdims=True)
        lengths = _lengths(vectors)
    scale = lengths.astype(np.float32)[:, None]  # float32 throughout: 92,802 rows are 380 MB
    scaled: F32 = np.divide(vectors, scale, dtype=np.float32, casting="same_kind")
    return scaled


def _lengths(vectors: NDArray[Any]) -> F64:
    lengths: F64 = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return lengths


def check_spread(vectors: F32, where: str) -> str:
    """Refuse vectors that are (nearly) all the same; the text of a warning, or nothing.

    The mean of 1 - cos over all pairs of unit vectors is N / (N - 1) times 1 - |mean|^2.
    """
    count = len(vectors)
    if count < 2:
        return ""
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = (1.0 - float(mean @ mean)) * count / (count - 1)
    if spread < COLLAPSED:
        raise BadData(
            f"{where}: the vectors have collapsed: over all pairs 1 - cosine is {spread:.1g} on "
            f"average, at least {COLLAPSED:g} is needed.\nThe model says the same of everything."
        )
    if spread < NEARLY_COLLAPSED:
        return f"{where}: the vectors are nearly all the same (mean of 1 - cosine {spread:.1g})."
    return ""


def require_same_model(queries: Embeddings, references: Embeddings) -> None:
    """Refuse two sides of different models, as far as the files tell."""
    if queries.vectors.shape[1] != references.vectors.shape[1]:
        raise ModelMismatch(
            f"query vectors have {queries.vectors.shape[1]} numbers, reference vectors "
            f"{references.vectors.shape[1]}: they are of different models."
        )
    fingerprints = {side.fingerprint for side in (queries, references)} - {""}
    if len(fingerprints) > 1:
        raise ModelMismatch(
            "the query and the reference vectors carry the fingerprints of different models: "
            f"{queries.fingerprint[:12]} and {references.fingerprint[:12]}."
        )


def order_rows(embeddings: Embeddings, ids: tuple[str, ...], where: str) -> F32:
    """Rows in the order of a data set's ``ids``; vectors of other pictures are left out.

    Vectors without ids must be as many as ``ids`` and in their order. Raises :class:`BadData` for
    missing and repeated ids.
    """
    if not embeddings.ids:
        if len(embeddings.vectors) != len(ids):
            raise BadData(
                f"{where}: {len(embeddings.vectors)} vectors for {len(ids)} pictures, and no ids.\n"
                "Save them with np.savez(file, vectors=..., ids=...), or in the list's order."
            )
        return embeddings.vectors
    rows: dict[str, int] = {}
    for row, name in enumerate(embeddings.ids):
        if rows.setdefault(name_key(name), row) != row:
            raise BadData(f"{where}: the id {name!r} occurs twice.")
    if missing := [name for name in ids if name_key(name) not in rows]:
        raise BadData(
            f"{where}: no vector for {len(missing)} of {len(ids)} pictures, the first is "
            f"{missing[0]!r}; the file's first id is {embeddings.ids[0]!r}."
        )
    return embeddings.vectors[[rows[name_key(name)] for name in ids]]


COLUMNS = ("query", "reference", "score")


def rank_vectors(task: Task, queries: Path, references: Path) -> tuple[RankedQueries, list[str]]:
    """Compare two files of vectors (cosine); the warnings that they deserve come along."""
    sides = [read_embeddings(queries), read_embeddings(references)]
    require_same_model(*sides)
    q = order_rows(sides[0], task.query_ids, str(queries))
    r = order_rows(sides[1], task.reference_ids, str(references))
    if not sides[0].ids:  # in the order of the list, not of the ids
        q = q[task.query_rows]
    if not sides[1].ids:
        r = r[task.reference_rows]
    warnings = [check_spread(q, str(queries)), check_spread(r, str(references))]
    return rank_queries(Plain(q, r), task), [text for text in warnings if text]


def read_ranking(task: Task, path: Path) -> RankedQueries:
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
    return RankedQueries(
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
        name: {name_key(name_of_row): n for n, name_of_row in enumerate(ids)}
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
    for n, (query_row, threshold) in enumerate(zip(asked, least, strict=True)):
        own = score[
            np.searchsorted(query, query_row, "left") : np.searchsorted(query, query_row, "right")
        ]
        counts[n] = np.count_nonzero(own >= threshold)
    return counts


def _first(queries: int, query: I64, reference: I64, key: F64) -> tuple[I64, F64]:
    """The ten best of every query; -1 and NaN beyond its list."""
    order = np.lexsort((reference, -key, query))
    start = np.searchsorted(query[order], np.arange(queries))
    place = np.arange(len(order)) - start[query[order]]
    first = order[place < BEST]
    best, score = np.full((queries, BEST), -1, dtype=np.int64), np.full((queries, BEST), np.nan)
    best[query[first], place[place < BEST]] = reference[first]
    score[query[first], place[place < BEST]] = key[first]
    return best, score
