"""Validation: embed, compare, rank; the code paths that locate uses. It selects nothing.

Ground pictures get a heading drawn per query (seeded, the same at every report) and are shown
whole and as crops; a rank counts every reference that is better or equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from crossview.arrays import F32, I64, U8
from crossview.errors import TrainingFailed
from crossview.evaluation.ranks import rank
from crossview.evaluation.relation import Pairs, Relation
from crossview.evaluation.spaces import space_of
from crossview.pairs.batch import Views
from crossview.pairs.loading import Loader, RawBatch, normalised
from crossview.pairs.table import PairTable
from crossview.training.state import TrainState
from crossview.views.spec import ViewSpec

CROP_ASPECT = 4.0 / 3.0  # width / height of the photos that crops imitate


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
class Embedded:
    """Vectors of the rows of a table; ``aerial`` has one vector per row, repeats included."""

    ground: F32  # [P, D]
    aerial: F32  # [P, D]
    seen_deg: F32  # [P] field of view that the ground picture shows


def recalls(
    state: TrainState, table: PairTable, loader: Loader, views: Views, fovs: Iterable[float]
) -> list[Recall]:
    """One :class:`Recall` per field of view, over the matches of ``table``."""
    return [_recall(state, table, loader, views, fov) for fov in fovs]


def embed_rows(
    state: TrainState, rows: Sequence[int], loader: Loader, views: Views, fov_deg: float
) -> Embedded:
    """Vectors of ``rows``, in eval mode; the loader's reader must have no ``augment``."""
    device = next(state.model.parameters()).device
    ground, aerial, seen = [], [], []
    with state.evaluating() as model:
        for raw in loader.epoch(0, chunks(rows, 32)):
            shown = shown_ground(raw, views, fov_deg)
            ground.append(model.ground(normalised(shown, views.ground, device)).float().cpu())
            aerial.append(model.aerial(normalised(raw.aerial, views.aerial, device)).float().cpu())
            seen.append(np.minimum(raw.fov_deg, fov_deg))
    vectors = Embedded(
        ground=torch.cat(ground).numpy(),
        aerial=torch.cat(aerial).numpy(),
        seen_deg=np.concatenate(seen),
    )
    _refuse_broken(vectors)
    return vectors


def chunks(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """The rows in order, in lists of at most ``size``."""
    yield from (list(rows[i : i + size]) for i in range(0, len(rows), size))


def shown_ground(raw: RawBatch, views: Views, fov_deg: float) -> U8:
    """The batch's ground canvases at a heading drawn per row, cut to ``fov_deg`` if narrower.

    Aligned models see the panorama as it is. Photos are not turned.
    """
    shown = [
        _shown(canvas, views.ground, min(fov_deg, float(fov)), turn)
        for canvas, fov, turn in zip(raw.ground, raw.fov_deg, _turns(raw, views), strict=True)
    ]
    return np.stack(shown)


def ranks(vectors: Embedded, table: PairTable, views: Views) -> tuple[I64, int]:
    """Rank (from 1) of the best match of each ground picture, and the number of references.

    Ignored references are left out of a query's ranking; ties count against the query.
    """
    queries, row_of_query, query = _numbered(table.pairs[:, 0])
    references, row_of_reference, reference = _numbered(table.pairs[:, 1])
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
    space = space_of(
        views.azimuth_bins,
        vectors.ground[row_of_query],
        vectors.aerial[row_of_reference],
        vectors.seen_deg[row_of_query],
    )
    return rank(space, relation).of_queries(), len(references)


def _numbered(pictures: I64) -> tuple[I64, I64, I64]:
    """Pictures in order, the first row of each, and the number of each row's picture."""
    found, first, numbers = np.unique(pictures, return_index=True, return_inverse=True)
    return found, first, numbers.reshape(-1)


def similarities(query: F32, gallery: F32, views: Views, seen_deg: float) -> F32:
    """Scores [n] of one query [D] against a gallery [n, D], at the best heading."""
    from crossview.retrieval.similarity import scores

    bins = views.azimuth_bins
    edges = np.arange(bins + 1) * 360.0 / bins - 180.0
    overlap = np.minimum(edges[1:], seen_deg / 2.0) - np.maximum(edges[:-1], -seen_deg / 2.0)
    seen = np.clip(overlap * bins / 360.0, 0.0, 1.0)
    result: F32 = scores(query, gallery, bins, seen.astype(np.float32), None)[0]
    return result


def _recall(
    state: TrainState, table: PairTable, loader: Loader, views: Views, fov: float
) -> Recall:
    found, references = ranks(
        embed_rows(state, range(len(table)), loader, views, fov), table, views
    )
    share = {k: 100.0 * float((found <= k).mean()) for k in (1, 5, 10)}
    return Recall(
        step=state.step,
        fov_deg=fov,
        queries=len(found),
        references=references,
        at_1=share[1],
        at_5=share[5],
        at_10=share[10],
    )


def _turns(raw: RawBatch, views: Views) -> list[int]:
    if views.headings_seen == "aligned":
        return [0] * len(raw.rows)
    width = views.ground.width_px
    turns = [int(np.random.default_rng((7, int(row))).integers(width)) for row in raw.rows]
    return [t if fov >= 360.0 else 0 for t, fov in zip(turns, raw.fov_deg, strict=True)]


def _shown(canvas: U8, spec: ViewSpec, fov_deg: float, turn: int) -> U8:
    turned = np.roll(canvas, -turn, axis=1)
    if fov_deg >= 360.0 or canvas.shape[1] < spec.width_px:
        return turned
    if spec.representation == "narrow":
        width = spec.columns(fov_deg)
        first = (spec.width_px - width) // 2
        return turned[:, first : first + width]
    from crossview.views.strip import visible_mask

    mask = visible_mask(spec, fov_deg, CROP_ASPECT)
    return np.where(mask[..., None], turned, np.array(spec.mean_colour, dtype=np.uint8))


def _refuse_broken(vectors: Embedded) -> None:
    for side, values in (("ground", vectors.ground), ("aerial", vectors.aerial)):
        if not np.isfinite(values).all():
            raise TrainingFailed(f"Some {side} vectors are not finite; the training diverged.")
        norms = np.linalg.norm(values, axis=1)
        if norms.min() < 1e-6:
            raise TrainingFailed(f"Some {side} vectors have length 0; the network is dead.")
