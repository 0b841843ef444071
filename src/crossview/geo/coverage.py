"""How much ground squares cover together."""

from __future__ import annotations

import math

import numpy as np

from crossview.arrays import F64, I64
from crossview.geo.points import EARTH_RADIUS_M, unroll_lon

_CELLS_ACROSS = 8  # cells that a square is counted in, per side
_BLOCK = 10_000  # squares counted at a time, to bound memory


def covered_km2(lat: F64, lon: F64, side_m: float) -> float:
    """Square kilometres under north-up squares of ``side_m`` about centres [N], overlaps once.

    Counted in cells an eighth of the side wide, so the rim is right to a sixteenth of the side.
    """
    cell_m = side_m / _CELLS_ACROSS
    lon = unroll_lon(lon)
    cells: I64 = np.empty(0, np.int64)
    for start in range(0, len(lat), _BLOCK):
        block = slice(start, start + _BLOCK)
        cells = np.union1d(cells, _cells_under(lat[block], lon[block], cell_m))
    return len(cells) * (cell_m / 1000.0) ** 2


def _cells_under(lat: F64, lon: F64, cell_m: float) -> I64:
    """Numbers of the cells whose centres lie in a square; rows by latitude, then by longitude."""
    half = _CELLS_ACROSS / 2.0
    steps = np.arange(-half - 1, half + 2)
    cell_deg = math.degrees(cell_m / EARTH_RADIUS_M)
    y = lat[:, None] / cell_deg
    rows = np.floor(y) + steps
    narrow = np.cos(np.radians((rows + 0.5) * cell_deg))
    x = lon[:, None] / cell_deg * narrow
    columns = np.floor(x)[..., None] + steps
    inside = (np.abs(rows + 0.5 - y) <= half)[..., None]
    inside = inside & (np.abs(columns + 0.5 - x[..., None]) <= half)
    most = math.ceil(360.0 / cell_deg) + 64
    numbers = rows[..., None] * most + columns
    return np.unique(numbers[inside].astype(np.int64))
