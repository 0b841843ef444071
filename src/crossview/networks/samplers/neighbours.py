"""Batches of rows that lie near or look like each other: the hard negatives of Sample4Geo.

Deuser et al., ICCV 2023, section 3.2: GPS sampling, then dynamic similarity sampling (DSS). Only
the order is built here; neighbours are data, from places (:func:`nearest_places`) or from vectors
(computed by the training room between epochs).
Deviation: distances are metres on the sphere; the authors' code gives degrees to a haversine that
expects radians, which makes most CVUSA neighbours wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch

from crossview.arrays import F64, I64
from crossview.errors import BadData
from crossview.geo.points import EARTH_RADIUS_M
from crossview.networks.samplers.rivals import Rivals
from crossview.pairs.table import PairTable

GIVE_UP = 1024  # failures in a row that end an epoch (authors' setting)


@lru_cache(maxsize=4)
def nearest_places(table: PairTable, count: int) -> I64:
    """[P, count] rows of *other* places, nearest first, in metres; fewer columns if there are few.

    Memory is one row of distances at a time. Raises BadData where a row has no latitude.
    """
    latlon, places = known_latlon(table), table.places()
    columns = min(count, _others(places))
    near = np.empty((len(table), columns), dtype=np.int64)
    points = _on_the_sphere(latlon)
    for row, point in enumerate(points):
        near[row] = nearest_first(np.square(points - point).sum(axis=1), places, row, columns)
    near.setflags(write=False)  # the same array is handed out every epoch
    return near


def known_latlon(table: PairTable) -> F64:
    """[P, 2] where each row was taken; BadData where a row has no latitude."""
    latlon = table.rows_latlon()
    if not np.isfinite(latlon).all():
        missing = int((~np.isfinite(latlon).all(axis=1)).sum())
        raise BadData(
            f"{missing} of {len(table)} pairs have no latitude and longitude; sampling by distance "
            "needs them.\nAdd ground_lat and ground_lon (or aerial_*), or sample without: "
            "--config gps_sampling=false or sampling=pairs, where the method has it."
        )
    return latlon


def _on_the_sphere(latlon: F64) -> F64:
    """[N, 3] metres from the Earth's centre; straight distances order points as the haversine."""
    lat, lon = np.radians(latlon).T
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    return EARTH_RADIUS_M * unit


def nearest_first(distance: F64, places: I64, row: int, count: int) -> I64:
    """The ``count`` rows of smallest ``distance`` [P] that show another place than ``row``."""
    masked = np.where(places == places[row], np.inf, distance)
    some = np.argpartition(masked, count - 1)[:count] if count < len(masked) else np.arange(count)
    order: I64 = some[np.lexsort((some, masked[some]))]
    return order


def neighbour_batches(
    table: PairTable,
    near: I64,
    size: int,
    generator: torch.Generator,
    select: int = 64,
) -> Iterator[list[int]]:
    """Full batches: a seed row, then rows near it, then the next seed, until the batch is full.

    Of the neighbours the first ``select / 2`` come first, then ``select / 2`` drawn from the rest
    (authors' settings: select 64 of 128). Every row at most once in an epoch, no rivals in a batch;
    the incomplete last batch is dropped.
    """
    if near.shape[0] != len(table) or (near.size and near.max() >= len(table)):
        raise BadData(
            f"neighbours of {near.shape[0]} rows that point up to row "
            f"{int(near.max()) if near.size else 0} do not fit a table of {len(table)} pairs."
        )
    rivals = Rivals(table)
    pool = deque(torch.randperm(len(table), generator=generator).tolist())
    used: set[int] = set()
    batch = rivals.batch()
    failures = 0
    while pool and failures < GIVE_UP:
        seed = pool.popleft()
        if seed in used or not batch.admits(seed):
            failures += 1
            if seed not in used:
                pool.append(seed)
            continue
        failures = 0
        for row in (seed, *_candidates(near[seed], select // 2, generator)):
            if len(batch.rows) < size and row not in used and batch.admits(row):
                batch.add(row)
                used.add(row)
        if len(batch.rows) == size:
            yield batch.rows
            batch = rivals.batch()


def _candidates(near: I64, half: int, generator: torch.Generator) -> list[int]:
    far = near[half:]
    drawn = torch.randperm(len(far), generator=generator)[:half].numpy()
    return [*near[:half].tolist(), *far[drawn].tolist()]


def _others(places: I64) -> int:
    """How many rows of other places every row has at least."""
    return int(len(places) - np.bincount(places).max()) if len(places) else 0
