"""Similarity neighbours between epochs (Sample4Geo's dynamic similarity sampling).

The most similar rows of every row, a block of queries at a time, never all scores at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from crossview.arrays import I64
from crossview.errors import BadData, InvalidValue
from crossview.networks.samplers import nearest_first
from crossview.pairs.batch import TrainingProgress
from crossview.pairs.loading import Loader, Reader
from crossview.training.device import is_fast_in_bfloat16
from crossview.training.ranks import ALONE, TrainingRanks
from crossview.training.train_state import TrainState
from crossview.training.validation import EmbeddedRows, embed_rows, similarities

BLOCK = 256  # queries per product: 18 MB of scores for 35,532 references
GROUP = 16  # columns whose best stands for them while the best groups are sought
BAND = 4  # ranks on either side of the last one kept that are compared again in float32


def rank_similar_rows(
    queries: Tensor, references: Tensor, places: I64, keep: int, ranks: TrainingRanks = ALONE
) -> I64:
    """[P, keep] rows of *other* places whose reference is most similar to each query, best first.

    ``queries`` and ``references`` are float [P, D] unit vectors on one device; row i of both shows
    place ``places[i]``. Where the device is fast in bfloat16, candidates are found in it, and the
    last places are settled in float32; their order is right to its rounding. Extra memory: a copy
    of the references, a block of scores. ``ranks`` share the blocks.
    """
    others = len(places) - int(np.bincount(places).max()) if len(places) else 0
    if not 0 < keep <= others:
        raise InvalidValue(f"neighbours must number 1 to {others} (rows elsewhere), got {keep}.")
    coarse = is_fast_in_bfloat16(queries.device)
    searched = references.bfloat16() if coarse else references.float()
    searched = torch.nn.functional.pad(searched, (0, 0, 0, -len(references) % GROUP))
    wanted = min(keep + BAND, others) if coarse else keep
    near = [np.empty((0, keep), dtype=np.int64)]
    blocks = list(_blocks(places))
    for start, stop, (own_row, own_column) in blocks[ranks.cut(len(blocks))]:
        scores = queries[start:stop].to(searched.dtype) @ searched.T
        scores[:, len(references) :] = -torch.inf
        scores[own_row.to(scores.device), own_column.to(scores.device)] = -torch.inf
        best = _best_columns(scores, wanted)
        if coarse:
            best = _last_places_settled(queries[start:stop], references, best, keep)
        near.append(best.cpu().numpy())
    return ranks.join(np.concatenate(near))


def _best_columns(scores: Tensor, count: int) -> Tensor:
    """Columns [B, count] of the largest scores [B, n * GROUP], largest first.

    Exact: an entry among the ``count`` largest lies in one of the ``count`` groups of largest
    maxima. Reading all entries once for the maxima is much cheaper than sorting among them.
    """
    groups = scores.shape[1] // GROUP
    if groups <= 2 * count:
        return scores.float().topk(count, dim=1).indices
    maxima = scores.view(len(scores), GROUP, groups).amax(dim=1).float()
    best = maxima.topk(count, dim=1, sorted=False).indices
    members = torch.arange(GROUP, device=scores.device)[None, :, None] * groups
    columns = (best[:, None, :] + members).flatten(1)
    order = scores.gather(1, columns).float().topk(count, dim=1).indices
    return columns.gather(1, order)


def _last_places_settled(queries: Tensor, references: Tensor, found: Tensor, keep: int) -> Tensor:
    """The best ``keep`` of the candidates [B, m]; those near the border compared in float32."""
    sure = max(0, keep - BAND)
    doubtful = found[:, sure:]
    candidates = references[doubtful.flatten()].float().view(*doubtful.shape, -1)
    exact = torch.bmm(candidates, queries.float().unsqueeze(2)).squeeze(2)
    settled = doubtful.gather(1, exact.topk(keep - sure, dim=1).indices)
    return torch.cat([found[:, :sure], settled], dim=1)


def _blocks(places: I64) -> Iterator[tuple[int, int, tuple[Tensor, Tensor]]]:
    """Blocks of rows, each with the (row in the block, column) of everything at its own places."""
    order = np.argsort(places, kind="stable")
    counts = np.bincount(places)
    first = np.cumsum(counts) - counts
    for start in range(0, len(places), BLOCK):
        stop = min(start + BLOCK, len(places))
        number = counts[places[start:stop]]
        row = np.repeat(np.arange(stop - start), number)
        within = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
        column = order[np.repeat(first[places[start:stop]], number) + within]
        yield start, stop, (torch.from_numpy(row), torch.from_numpy(column))


def make_miner(
    reader: Reader, workers: int, ranks: TrainingRanks = ALONE
) -> Callable[[TrainState], I64]:
    """A function that ranks, for every row, the other places by the network's similarity.

    ``reader`` is that of the training: its method's Config says how many are kept
    (``neighbour_range``, else 128) and its page to which field of view the queries are cut
    (``query_fov_deg``). With ``state.memory`` the epoch's own vectors are compared,
    and only rows that it has not seen are embedded. ``ranks`` share the work, and all get all rows.
    """
    plain = replace(reader, page=None, config={}, share=ALONE.share)

    def mine(state: TrainState) -> I64:
        config = _config_after(reader, state.epoch)
        theta = _query_fov_deg(reader, config)
        unknown = np.arange(len(reader.table))
        if state.memory is not None:
            unknown = np.flatnonzero(~state.memory.known.numpy())
        fresh = None
        if len(unknown):
            with Loader(plain, workers) as loader:
                fresh = embed_rows(
                    state, unknown.tolist(), loader, reader.views, theta, ranks=ranks
                )
        places = reader.places
        others = int(len(places) - np.bincount(places).max())
        keep = min(int(getattr(config, "neighbour_range", 128)), others)
        if keep < 1:
            raise BadData("Every training pair shows the same place; there is nothing to contrast.")
        if reader.views.azimuth_bins > 1 and fresh is not None:
            return _neighbours_over_turns(fresh, reader, keep, ranks)
        ground, aerial = _all_vectors(state, unknown, fresh)
        device = next(state.model.parameters()).device
        return rank_similar_rows(ground.to(device), aerial.to(device), places, keep, ranks)

    return mine


def _query_fov_deg(reader: Reader, config: object) -> float:
    """To which field of view queries are cut, where the method's page says so."""
    page = reader.page.load() if reader.page else None
    fov_deg = getattr(page, "query_fov_deg", None)
    return float(fov_deg(config)) if fov_deg else 360.0


def _config_after(reader: Reader, epochs: int) -> object:
    """The method's Config as its course has it in the last of so many epochs."""
    if reader.page is None:
        return None
    page = reader.page.load()
    config = page.Config(**reader.config)
    if reader.span is None or not hasattr(page, "staged"):
        return config
    moment = TrainingProgress(
        span=reader.span, epoch=max(0, epochs - 1), batch=reader.span.batches - 1
    )
    staged: object = page.staged(config, moment, np.random.default_rng((reader.seed, epochs)))
    return staged


def _all_vectors(
    state: TrainState, fresh_rows: np.ndarray, fresh: EmbeddedRows | None
) -> tuple[Tensor, Tensor]:
    """[P, D] of both sides: what is remembered, and what was embedded just now."""
    remembered = state.memory.tensors() if state.memory is not None else {}
    if fresh is None:
        return remembered["ground"].float(), remembered["aerial"].float()
    new = torch.from_numpy(fresh.ground), torch.from_numpy(fresh.aerial)
    if not remembered:
        return new
    both = remembered["ground"].float(), remembered["aerial"].float()
    for old, values in zip(both, new, strict=True):
        old[torch.from_numpy(fresh_rows)] = values
    return both


def _neighbours_over_turns(
    vectors: EmbeddedRows, reader: Reader, keep: int, ranks: TrainingRanks
) -> I64:
    """As :func:`rank_similar_rows`, for vectors that are compared over all turns."""
    own = range(len(vectors.ground))[ranks.cut(len(vectors.ground))]
    near = np.empty((len(own), keep), dtype=np.int64)
    seen = vectors.seen_deg
    for n, row in enumerate(own):
        query = vectors.ground[row]
        scores = similarities(query, vectors.aerial, reader.views, float(seen[row]))
        near[n] = nearest_first(-scores.astype(np.float64), reader.places, row, keep)
    return ranks.join(near)
