"""Similarity neighbours between epochs (Sample4Geo's dynamic similarity sampling)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from crossview.arrays import I64
from crossview.errors import BadData
from crossview.networks.samplers.neighbours import nearest_first
from crossview.pairs.loading import Loader, Reader
from crossview.pairs.moment import Moment
from crossview.training.similar import similar_rows
from crossview.training.state import TrainState
from crossview.training.validation import Embedded, embed_rows, similarities


def similarity_miner(reader: Reader, workers: int) -> Callable[[TrainState], I64]:
    """A function that ranks, for every row, the other places by the network's similarity.

    ``reader`` is that of the training: its method's Config says how many are kept
    (``neighbour_range``, else 128) and, where it follows a course, to which field of view the
    queries are cut (``now_theta_deg``). With ``state.memory`` the epoch's own vectors are compared,
    and only rows that it has not seen are embedded.
    """
    plain = replace(reader, page=None, config={})

    def mine(state: TrainState) -> I64:
        config = _config_after(reader, state.epoch)
        theta = float(getattr(config, "now_theta_deg", 360.0))
        unknown = np.arange(len(reader.table))
        if state.memory is not None:
            unknown = np.flatnonzero(~state.memory.known.numpy())
        fresh = None
        if len(unknown):
            with Loader(plain, workers) as loader:
                fresh = embed_rows(state, unknown.tolist(), loader, reader.views, theta)
        places = reader.places
        others = int(len(places) - np.bincount(places).max())
        keep = min(int(getattr(config, "neighbour_range", 128)), others)
        if keep < 1:
            raise BadData("Every training pair shows the same place; there is nothing to contrast.")
        if reader.views.azimuth_bins > 1 and fresh is not None:
            return _turned_neighbours(fresh, reader, keep)
        ground, aerial = _all_vectors(state, unknown, fresh)
        device = next(state.model.parameters()).device
        return similar_rows(ground.to(device), aerial.to(device), places, keep)

    return mine


def _config_after(reader: Reader, epochs: int) -> object:
    """The method's Config as its course has it in the last of so many epochs."""
    if reader.page is None:
        return None
    page = reader.page.load()
    config = page.Config(**reader.config)
    if reader.span is None or not hasattr(page, "staged"):
        return config
    moment = Moment(span=reader.span, epoch=max(0, epochs - 1), batch=reader.span.batches - 1)
    staged: object = page.staged(config, moment, np.random.default_rng((reader.seed, epochs)))
    return staged


def _all_vectors(
    state: TrainState, fresh_rows: np.ndarray, fresh: Embedded | None
) -> tuple[Tensor, Tensor]:
    """[P, D] of both sides: what is remembered, and what was embedded just now."""
    known = state.memory.tensors() if state.memory is not None else {}
    if fresh is None:
        return known["ground"].float(), known["aerial"].float()
    new = torch.from_numpy(fresh.ground), torch.from_numpy(fresh.aerial)
    if not known:
        return new
    both = known["ground"].float(), known["aerial"].float()
    for old, values in zip(both, new, strict=True):
        old[torch.from_numpy(fresh_rows)] = values
    return both


def _turned_neighbours(vectors: Embedded, reader: Reader, keep: int) -> I64:
    """As :func:`similar_rows`, for vectors that are compared over all turns."""
    near = np.empty((len(vectors.ground), keep), dtype=np.int64)
    seen = vectors.seen_deg
    for row, query in enumerate(vectors.ground):
        scores = similarities(query, vectors.aerial, reader.views, float(seen[row]))
        near[row] = nearest_first(-scores.astype(np.float64), reader.places, row, keep)
    return near
