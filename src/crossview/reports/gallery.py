"""Pictures to look at: the best answers, the worst, and the wrong ones that looked most certain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossview.errors import BadImage
from crossview.evaluation.evaluation_record import Evaluation
from crossview.outputs.page_images import Budget, JpegSize, shrink_picture
from crossview.reports.results import RunResult

MANY = 4  # cards per kind
_GROUND, _AERIAL = JpegSize(400, 74), JpegSize(150, 76)


@dataclass(frozen=True)
class AnswerCard:
    """One query with its picture, the tile that came first, and another to compare it with.

    The other tile is the truth where the first is wrong, else the second answer. Pictures are
    base64 of JPEG; one that cannot be read is None.
    """

    query: str
    ground: str | None
    found_tile: str | None
    other_tile: str | None
    rank: int
    error_m: float
    true_score: float
    found_score: float


@dataclass(frozen=True)
class CardGroup:
    """Cards of one kind of one run."""

    title: str
    explained: str
    cards: tuple[AnswerCard, ...]


def pick_cards(result: RunResult, budget: Budget) -> list[CardGroup]:
    """Three galleries of a run's first record; empty when its pictures cannot be read at all."""
    evaluation = result.first
    chosen = {
        "Best": ("right, and furthest ahead of the second answer", _best(evaluation)),
        "Worst": ("the truth ranked last", _worst(evaluation)),
        "Wrong and sure of it": ("wrong, with the highest scores", _confident(evaluation)),
    }
    made = [
        CardGroup(title, why, tuple(_card(evaluation, int(row), budget) for row in rows))
        for title, (why, rows) in chosen.items()
        if len(rows)
    ]
    seen = [card for gallery in made for card in gallery.cards if card.ground or card.found_tile]
    return made if seen else []


def _best(evaluation: Evaluation) -> np.ndarray:
    queries = evaluation.queries
    ahead = queries.best_score[:, 0] - queries.best_score[:, 1]
    right = np.flatnonzero((queries.rank == 1) & np.isfinite(ahead))
    return right[np.argsort(-ahead[right], kind="stable")][:MANY]


def _worst(evaluation: Evaluation) -> np.ndarray:
    rank = evaluation.queries.rank
    wrong = np.flatnonzero(rank > 1)
    return wrong[np.argsort(-rank[wrong], kind="stable")][:MANY]


def _confident(evaluation: Evaluation) -> np.ndarray:
    queries = evaluation.queries
    wrong = np.flatnonzero(queries.rank > 1)
    return wrong[np.argsort(-queries.best_score[wrong, 0], kind="stable")][:MANY]


def _card(evaluation: Evaluation, row: int, budget: Budget) -> AnswerCard:
    queries, names = evaluation.queries, evaluation.references.ids
    found, second = (int(reference) for reference in queries.best[row, :2])
    other = second if queries.rank[row] == 1 else int(queries.truth[row])
    root = Path(evaluation.root)
    return AnswerCard(
        query=str(queries.ids[row]),
        ground=_picture(root / str(queries.ids[row]), _GROUND, budget),
        found_tile=_picture(root / str(names[found]), _AERIAL, budget) if found >= 0 else None,
        other_tile=_picture(root / str(names[other]), _AERIAL, budget) if other >= 0 else None,
        rank=int(queries.rank[row]),
        error_m=float(queries.error_m[row]),
        true_score=float(queries.true_score[row]),
        found_score=float(queries.best_score[row, 0]),
    )


def _picture(path: Path, size: JpegSize, budget: Budget) -> str | None:
    """Base64 of a small JPEG, or None when the file cannot be read or nothing more fits."""
    if not path.is_file():
        return None
    try:
        small = shrink_picture(path, size)
    except BadImage:
        return None
    return budget.encode(small)
