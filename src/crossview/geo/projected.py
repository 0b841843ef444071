"""Coordinates of a projected reference system as WGS84 degrees, many at once."""

from __future__ import annotations

import numpy as np

from crossview.arrays import F64
from crossview.geo.grids import to_latlon
from crossview.geo.points import wrap_lon


def latlon_of(crs: str, x: F64, y: F64) -> F64:
    """[N, 2] latitude and longitude of ``x`` (east) and ``y`` (north), [N] each, in ``crs``.

    What is no place on Earth is not finite.
    """
    longitude, latitude = to_latlon(crs).transform(x, y)
    return np.stack([np.asarray(latitude, np.float64), wrap_lon(longitude)], axis=-1)
