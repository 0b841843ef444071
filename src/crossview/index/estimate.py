"""Estimate: how many tiles, how large and how long, before any of it is done."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import islice

import numpy as np

from crossview.errors import EmptyRegion
from crossview.imagery.windows import count, cut
from crossview.index.embedding import Job, why_empty
from crossview.index.tiles import TileBatch, tile_batches

TIMED_TILES = 20
LONG_S = 3600.0  # from here on a smaller area or a larger stride is suggested


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """At most ``tiles`` windows (those without data are not known yet), and what they take."""

    tiles: int
    bytes: int
    seconds: float
    stride_m: float

    @property
    def is_long(self) -> bool:
        """More than an hour."""
        return self.seconds > LONG_S

    @property
    def stride_for_an_hour_m(self) -> float:
        """The stride in whole metres with which it would take about an hour."""
        return math.ceil(self.stride_m * math.sqrt(self.seconds / LONG_S))


def estimate(job: Job) -> Estimate:
    """Count the windows and time the first ones with data, on this machine and this imagery.

    Timed are cutting, thumbnails and network; reading happens meanwhile and is hardly seen.
    Raises :class:`EmptyRegion` when there is no window or none of them has data.
    """
    tiles = count(job.imagery, job.tiling)
    windows = [
        window._replace(pixels=window.pixels.copy())
        for window in islice(cut(job.imagery, job.tiling), TIMED_TILES)
    ]
    if not windows:
        raise EmptyRegion(why_empty(tiles, job.tiling))
    (batch,) = tile_batches(windows, job.view, len(windows))
    job.embedder.aerial(batch.views)  # the first run of a network sets it up
    start = time.perf_counter()
    for batch in tile_batches(windows, job.view, len(windows)):
        job.embedder.aerial(batch.views)
    seconds = (time.perf_counter() - start) / len(windows)
    return Estimate(
        tiles=tiles,
        bytes=round(tiles * _bytes_each(batch, job.embedder.info.dim)),
        seconds=tiles * seconds,
        stride_m=job.tiling.stride_m,
    )


def _bytes_each(batch: TileBatch, dim: int) -> float:
    """Vector, place, offset and thumbnail of one window."""
    return 4 * dim + 3 * 8 + 8 + float(np.mean([len(jpeg) for jpeg in batch.thumbnails]))
