"""Coordinates of a projected reference system as WGS84 degrees, many at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from crossview.arrays import F64


def latlon_of(crs: str, x: F64, y: F64) -> F64:
    """[N, 2] latitude and longitude of ``x`` (east) and ``y`` (north), [N] each, in ``crs``."""
    longitude, latitude = _transformer(crs).transform(x, y)
    return np.stack([latitude, longitude], axis=-1).astype(np.float64)


@lru_cache(maxsize=16)
def _transformer(crs: str) -> Any:
    import pyproj

    return pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
