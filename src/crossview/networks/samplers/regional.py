"""Batches whose places lie in one region, as the references of a search do, but not too near."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from crossview.arrays import F64
from crossview.errors import require
from crossview.geo.points import LatLon, distances_m
from crossview.networks.samplers.neighbours import known_latlon
from crossview.networks.samplers.rivals import Rivals
from crossview.pairs.table import PairTable


def regional(
    table: PairTable, size: int, reach_m: float, apart_m: float, generator: torch.Generator
) -> Iterator[list[int]]:
    """Full batches: a random row, then random unused rows within ``reach_m`` of it.

    No two rows of a batch are rivals or lie nearer than ``apart_m``, so that no near match counts
    as a negative. A region that has no more rows is followed by the next seed's; the last batch is
    dropped. Raises BadData where a row has no place,
    InvalidValue if ``reach_m`` is not above 0 or no larger than ``apart_m``.
    """
    allowed = f"It must be above 0 and above the {apart_m:g} m that rows of a batch lie apart."
    require(reach_m > max(0.0, apart_m), f"a batch cannot reach {reach_m:g} m.\n{allowed}")
    latlon, rivals = known_latlon(table), Rivals(table)
    order = torch.randperm(len(table), generator=generator).numpy()
    unused = np.ones(len(table), dtype=bool)
    batch = rivals.batch()
    for seed in order:
        if not unused[seed]:
            continue
        near = _metres(latlon, int(seed)) <= reach_m
        for row in order[(unused & near)[order]]:
            fits = len(batch.rows) < size and batch.admits(int(row))
            if fits and _is_apart(latlon, int(row), batch.rows, apart_m):
                batch.add(int(row))
                unused[row] = False
        if len(batch.rows) == size:
            yield batch.rows
            batch = rivals.batch()


def _metres(latlon: F64, row: int) -> F64:
    return distances_m(LatLon(*latlon[row]), latlon[:, 0], latlon[:, 1])


def _is_apart(latlon: F64, row: int, batch: list[int], apart_m: float) -> bool:
    if not batch:
        return True
    others = latlon[batch]
    return bool(distances_m(LatLon(*latlon[row]), others[:, 0], others[:, 1]).min() >= apart_m)
