"""Re-ranking: the best windows of a photo are compared with it again, by something dearer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossview.arrays import F32, I64
from crossview.index.selection import Held
from crossview.index.similarity import score_query
from crossview.localization.queries import Query
from crossview.localization.search import SearchResult, price_turns
from crossview.model import Embedder, ModelInfo
from crossview.views.crops import compute_bin_coverage


def rerank(index: Held, embedder: Embedder, query: Query, result: SearchResult) -> SearchResult:
    """The result with the best ``query.hints.rerank`` windows compared at half turns too.

    Scores stay cosines, and headings count from the windows' up as before. Unchanged where that
    many is 0, or the model has no azimuth bins or no canvas on which a strip can be turned.
    """
    info = embedder.info
    if query.hints.rerank == 0 or not can_turn(info) or not query.strips:
        return result
    rows = pick_best(result.scores, query.hints.rerank)
    half_px = info.ground.width_px // info.azimuth_bins // 2
    half_deg = half_px * 360.0 / info.ground.width_px
    strip = np.roll(query.strips[result.reading], half_px, axis=1)
    turned = replace(query, turned_deg=query.turned_deg + half_deg)
    fov_deg = query.readings[result.reading].fov_deg
    seen = compute_bin_coverage(fov_deg, info.azimuth_bins, turned.turned_deg)
    costs = price_turns(turned, index.up_bearing_deg[rows], info.azimuth_bins)
    vector = embedder.ground(strip[None])[0]
    scores, headings = score_query(vector, index.take_vectors(rows), info.azimuth_bins, seen, costs)
    better = scores > result.scores[rows]
    changed = replace(result, scores=result.scores.copy(), heading_deg=result.heading_deg.copy())
    changed.scores[rows[better]] = scores[better]
    changed.heading_deg[rows[better]] = headings[better] + turned.turned_deg
    return changed


def can_turn(info: ModelInfo) -> bool:
    """Whether a strip can be turned by less than a bin: on the canvas of a model with bins."""
    return info.azimuth_bins > 1 and info.ground.representation == "padded"


def pick_best(scores: F32, count: int) -> I64:
    """Rows of the ``count`` best windows of [N], best first; not those that are NaN."""
    order: I64 = np.argsort(-scores, kind="stable")[:count]  # NaN comes last
    return order[np.isfinite(scores[order])]
