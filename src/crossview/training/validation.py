"""Validation: embed, compare, rank; the code paths that locate uses. It selects nothing.

Ground pictures get a heading drawn per query (seeded, the same at every report) and are shown
whole and cut (``views.crops``); a rank counts every reference that is better or equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crossview.arrays import F32, I64, U8
from crossview.errors import TrainingFailed
from crossview.evaluation.fast_scores import make_space
from crossview.evaluation.metrics import CUTS, recall
from crossview.evaluation.ranking import rank
from crossview.evaluation.task import Pairs, Relation
from crossview.index.similarity import score_query
from crossview.pairs.batch import RawBatch, Views, normalise
from crossview.pairs.loading import Loader
from crossview.pairs.table import PairTable
from crossview.training.ranks import ALONE, TrainingRanks
from crossview.training.train_state import TrainState
from crossview.views.crops import CroppedView, compute_bin_coverage, crop_view, draw_fov

TOGETHER = 32  # pairs that are embedded at a time


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Shares of queries with a match among the first 1, 5, 10 references; percent."""

    step: int
    fov_deg: float
    queries: int
    references: int
    at_1: float
    at_5: float
    at_10: float


@dataclass(frozen=True, kw_only=True)
class EmbeddedRows:
    """Vectors of the rows of a table; ``aerial`` has one vector per row, repeats included."""

    ground: F32  # [P, D]
    aerial: F32  # [P, D]
    seen_deg: F32  # [P] field of view that the ground picture shows


def measure_recalls(
    state: TrainState,
    table: PairTable,
    loader: Loader,
    views: Views,
    fovs: Iterable[float],
    *,
    ranks: TrainingRanks = ALONE,
) -> list[Recall]:
    """One :class:`Recall` per field of view, over the matches of ``table``."""
    return [_recall(state, table, loader, views, fov, ranks=ranks) for fov in fovs]


def embed_rows(
    state: TrainState,
    rows: Sequence[int],
    loader: Loader,
    views: Views,
    fov_deg: float,
    *,
    ranks: TrainingRanks = ALONE,
) -> EmbeddedRows:
    """Vectors of ``rows``, in eval mode; the loader's reader must have no ``augment``.

    Ranks share them, by the pictures that one device would put into a network together: all get the
    same vectors as it, and all of them.
    """
    blocks = ranks.cut(-(-len(rows) // TOGETHER))
    split = len(rows) >= TOGETHER * ranks.count
    own = rows[blocks.start * TOGETHER : blocks.stop * TOGETHER] if split else rows
    vectors = _embed_own(state, own, loader, views, fov_deg)
    if split:
        vectors = EmbeddedRows(
            ground=ranks.join(vectors.ground),
            aerial=ranks.join(vectors.aerial),
            seen_deg=ranks.join(vectors.seen_deg),
        )
    _refuse_broken(vectors)
    return vectors


def _embed_own(
    state: TrainState, rows: Sequence[int], loader: Loader, views: Views, fov_deg: float
) -> EmbeddedRows:
    sides, seen = [], []
    with state.evaluation_mode() as model:
        for raw in loader.read_rows(rows, TOGETHER):
            shown = _draw_shown(raw, views, fov_deg)
            ground = np.stack([view.pixels for view in shown])
            sides.append(embed_batch(model, views, ground, raw.aerial))
            seen += [view.fov_deg for view in shown]
    grounds, aerials = zip(*sides, strict=True)
    return EmbeddedRows(
        ground=np.concatenate(grounds),
        aerial=np.concatenate(aerials),
        seen_deg=np.array(seen, dtype=np.float32),
    )


def embed_batch(model: Any, views: Views, ground: U8, aerial: U8) -> tuple[F32, F32]:
    """Vectors [B, D] of both sides' pictures, [B, h, w, 3] each; the model is in eval mode."""
    device = next(model.parameters()).device
    with torch.no_grad():
        grounds = model.ground(normalise(ground, views.ground, device)).float().cpu().numpy()
        aerials = model.aerial(normalise(aerial, views.aerial, device)).float().cpu().numpy()
    return grounds, aerials


def crop_ground(raw: RawBatch, views: Views, fov_deg: float) -> U8:
    """The batch's ground pictures [B, h, w, 3] at a heading drawn per row, cut to ``fov_deg``.

    What is kept is said in ``views.crops``. Aligned models see the panorama's middle. Photos are
    not turned, and not cut if they show less.
    """
    return np.stack([view.pixels for view in _draw_shown(raw, views, fov_deg)])


def rank_rows(vectors: EmbeddedRows, table: PairTable, views: Views) -> tuple[I64, int]:
    """Rank (from 1) of the best match of each ground picture, and the number of references.

    Ignored references are left out of a query's ranking; ties count against the query.
    """
    queries, row_of_query, query = _number_pictures(table.pairs[:, 0])
    references, row_of_reference, reference = _number_pictures(table.pairs[:, 1])
    near = table.ignored[
        np.isin(table.ignored[:, 0], queries) & np.isin(table.ignored[:, 1], references)
    ]
    near = np.stack(
        [np.searchsorted(queries, near[:, 0]), np.searchsorted(references, near[:, 1])], axis=1
    )
    relation = Relation(
        queries=len(queries),
        references=len(references),
        right=Pairs.of(np.stack([query, reference], axis=1)),
        near=Pairs.of(near),
    )
    space = make_space(
        views.azimuth_bins,
        vectors.ground[row_of_query],
        vectors.aerial[row_of_reference],
        vectors.seen_deg[row_of_query],
    )
    return rank(space, relation).of_queries(), len(references)


def _number_pictures(pictures: I64) -> tuple[I64, I64, I64]:
    """Pictures in order, the first row of each, and the number of each row's picture."""
    unique, first, numbers = np.unique(pictures, return_index=True, return_inverse=True)
    return unique, first, numbers.reshape(-1)


def similarities(query: F32, gallery: F32, views: Views, seen_deg: float) -> F32:
    """Scores [n] of one query [D] against a gallery [n, D], at the best heading."""
    bins = views.azimuth_bins
    result: F32 = score_query(query, gallery, bins, compute_bin_coverage(seen_deg, bins), None)[0]
    return result


def _recall(
    state: TrainState,
    table: PairTable,
    loader: Loader,
    views: Views,
    fov: float,
    *,
    ranks: TrainingRanks,
) -> Recall:
    row_ranks, references = rank_rows(
        embed_rows(state, range(len(table)), loader, views, fov, ranks=ranks), table, views
    )
    percent = {k: 100.0 * recall(row_ranks, k) for k in CUTS}
    return Recall(
        step=state.step,
        fov_deg=fov,
        queries=len(row_ranks),
        references=references,
        at_1=percent[1],
        at_5=percent[5],
        at_10=percent[10],
    )


def _draw_shown(raw: RawBatch, views: Views, fov_deg: float) -> list[CroppedView]:
    return [
        crop_view(canvas, views.ground, fov, heading, has_deg=float(has))
        for canvas, has, heading, fov in zip(
            raw.ground, raw.fov_deg, _headings_deg(raw, views), _fovs(raw, fov_deg), strict=True
        )
    ]


def _fovs(raw: RawBatch, fov_deg: float) -> list[float]:
    """A field of view per row; one that every picture draws is the same at every report."""
    return [draw_fov(fov_deg, np.random.default_rng((8, int(row)))) for row in raw.rows]


def _headings_deg(raw: RawBatch, views: Views) -> list[float]:
    """A heading per row, of whole columns; the same at every report."""
    if views.headings_seen == "aligned":
        return [0.0] * len(raw.rows)
    width = views.ground.width_px
    turns = [np.random.default_rng((7, int(row))).integers(width) for row in raw.rows]
    return [360.0 * int(turn) / width for turn in turns]


def _refuse_broken(vectors: EmbeddedRows) -> None:
    for side, values in (("ground", vectors.ground), ("aerial", vectors.aerial)):
        if not np.isfinite(values).all():
            raise TrainingFailed(f"Some {side} vectors are not finite; the training diverged.")
        norms = np.linalg.norm(values, axis=1)
        if norms.min() < 1e-6:
            raise TrainingFailed(f"Some {side} vectors have length 0; the network is dead.")
