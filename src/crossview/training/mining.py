"""Similarity neighbours between epochs (Sample4Geo's dynamic similarity sampling)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crossview.pairs.loading import Loader, Reader
from crossview.parts.samplers.neighbours import nearest_first
from crossview.training.contract import Neighbours
from crossview.training.state import TrainState
from crossview.training.validation import embed_rows, similarities


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
        for row, query in enumerate(vectors.ground):
            seen = float(vectors.seen_deg[row])
            scores = similarities(query, vectors.aerial, views, seen).astype(np.float64)
            near[row] = nearest_first(-scores, places, row, count)
        return near

    return mine
