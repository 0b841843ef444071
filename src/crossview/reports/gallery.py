"""Queries with their answers as pictures: the best, the worst, and the wrong ones of high score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossview.errors import BadImage
from crossview.evaluation.evaluation_record import Evaluation
from crossview.outputs.page_images import Budget, JpegSize, shrink_picture
from crossview.reports.results import RunResult
from crossview.texts import phrase

CARDS = 4  # of one kind
_GROUND, _AERIAL = JpegSize(400, 74), JpegSize(150, 76)


@dataclass(frozen=True)
class AnswerCard:
    """One query with its picture, the tile that came first, and another to compare it with.

    The other tile is the truth where the first is wrong, else the second answer. Pictures are
    base64 of JPEG; one that cannot be read is None.
    """

    query: str
    ground: str | None
    first_tile: str | None
    other_tile: str | None
    rank: int
    error_m: float
    true_score: float
    first_score: float

    @property
    def right(self) -> bool:
        """Whether the first answer is the truth."""
        return self.rank == 1

    @property
    def outcome(self) -> str:
        """In words: right, or where the truth came, and how far the first answer lies off."""
        off = math.isfinite(self.error_m)
        error = phrase("galleries.error", metres=self.error_m) if off else ""
        if self.right:
            return phrase("galleries.right", error=error)
        return phrase("galleries.wrong", rank=self.rank, error=error)


@dataclass(frozen=True)
class CardGroup:
    """Cards of one kind of one run."""

    title: str
    why: str  # these queries
    cards: tuple[AnswerCard, ...]


def pick_cards(result: RunResult, budget: Budget) -> list[CardGroup]:
    """Three galleries of a run's first record; empty when its pictures cannot be read at all."""
    evaluation = result.first
    picks = {
        "best": _pick_best(evaluation),
        "worst": _pick_worst(evaluation),
        "confident": _pick_confident(evaluation),
    }
    groups = [
        CardGroup(
            phrase(f"galleries.{kind}.title"),
            phrase(f"galleries.{kind}.why"),
            tuple(_make_card(evaluation, int(row), budget) for row in rows),
        )
        for kind, rows in picks.items()
        if len(rows)
    ]
    readable = any(c.ground or c.first_tile for group in groups for c in group.cards)
    return groups if readable else []


def _pick_best(evaluation: Evaluation) -> np.ndarray:
    queries = evaluation.queries
    lead = queries.best_score[:, 0] - queries.best_score[:, 1]
    right = np.flatnonzero((queries.rank == 1) & np.isfinite(lead))
    return right[np.argsort(-lead[right], kind="stable")][:CARDS]


def _pick_worst(evaluation: Evaluation) -> np.ndarray:
    rank = evaluation.queries.rank
    wrong = np.flatnonzero(rank > 1)
    return wrong[np.argsort(-rank[wrong], kind="stable")][:CARDS]


def _pick_confident(evaluation: Evaluation) -> np.ndarray:
    queries = evaluation.queries
    wrong = np.flatnonzero(queries.rank > 1)
    return wrong[np.argsort(-queries.best_score[wrong, 0], kind="stable")][:CARDS]


def _make_card(evaluation: Evaluation, row: int, budget: Budget) -> AnswerCard:
    queries, names = evaluation.queries, evaluation.references.ids
    first, second = (int(reference) for reference in queries.best[row, :2])
    other = second if queries.rank[row] == 1 else int(queries.truth[row])
    root = Path(evaluation.root)
    return AnswerCard(
        query=str(queries.ids[row]),
        ground=_encode(root / str(queries.ids[row]), _GROUND, budget),
        first_tile=_encode(root / str(names[first]), _AERIAL, budget) if first >= 0 else None,
        other_tile=_encode(root / str(names[other]), _AERIAL, budget) if other >= 0 else None,
        rank=int(queries.rank[row]),
        error_m=float(queries.error_m[row]),
        true_score=float(queries.true_score[row]),
        first_score=float(queries.best_score[row, 0]),
    )


def _encode(path: Path, size: JpegSize, budget: Budget) -> str | None:
    """Base64 of a small JPEG, or None when the file cannot be read or nothing more fits."""
    if not path.is_file():
        return None
    try:
        small = shrink_picture(path, size)
    except BadImage:
        return None
    return budget.encode(small)
