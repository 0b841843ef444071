"""Similarity neighbours between epochs (Sample4Geo's dynamic similarity sampling)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from crossview.pairs.batch import Views
from crossview.pairs.loading import Loader, Reader
from crossview.parts.samplers.neighbours import nearest_first
from crossview.training.contract import Neighbours
from crossview.training.state import TrainState
from crossview.training.validation import Embedded, Vectors, embed_rows, similarities

BLOCK = 256  # queries per product


def similarity_miner(
    reader: Reader, workers: int, config: Any
) -> Callable[[TrainState], Neighbours]:
    """A function that ranks, for every row, the other places by the network's similarity.

    The ``neighbour_range`` of the method's Config says how many are kept (128 if it has none).
    """
    keep = int(getattr(config, "neighbour_range", 128))

    def mine(state: TrainState) -> Neighbours:
        table, views = reader.table, reader.views
        with Loader(reader, workers) as loader:
            vectors = embed_rows(state, table, loader, views, fov_deg=360.0)
        places = reader.places
        count = min(keep, int(len(places) - np.bincount(places).max()))
        near = np.empty((len(table), count), dtype=np.int64)
        for row, scores in enumerate(_all_similarities(vectors, views)):
            near[row] = nearest_first(-scores.astype(np.float64), places, row, count)
        return near

    return mine


def _all_similarities(vectors: Embedded, views: Views) -> Iterator[Vectors]:
    """One row of scores [P] per ground picture; plain vectors are multiplied in blocks."""
    if views.azimuth_bins > 1:
        for query, seen in zip(vectors.ground, vectors.seen_deg, strict=True):
            yield similarities(query, vectors.aerial, views, float(seen))
        return
    for start in range(0, len(vectors.ground), BLOCK):
        yield from vectors.ground[start : start + BLOCK] @ vectors.aerial.T
