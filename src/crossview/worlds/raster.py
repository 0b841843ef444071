"""The cells of a town: coordinates, smooth noise, and rectangles drawn onto cells.

Positions are metres east and south of the town's north-west corner, in the map's grid frame; cell
(row, column) has its centre at ((column + 0.5) * CELL_M, (row + 0.5) * CELL_M).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, Bool

CELL_M = 0.4

Generator = np.random.Generator


def compute_cell_centres(cells: int) -> tuple[F32, F32]:
    """East and south of every cell centre, [cells, cells] in metres."""
    line = (np.arange(cells, dtype=np.float32) + 0.5) * CELL_M
    east, south = np.meshgrid(line, line)
    return east, south


def draw_smooth_noise(cells: int, wavelength_m: float, rng: Generator) -> F32:
    """Bilinear value noise in [-1, 1], [cells, cells], with bumps of about ``wavelength_m``."""
    knots = max(2, math.ceil(cells * CELL_M / wavelength_m) + 2)
    values = rng.uniform(-1.0, 1.0, (knots, knots)).astype(np.float32)
    at = np.arange(cells, dtype=np.float32) * (CELL_M / wavelength_m)
    low = np.minimum(at.astype(np.int64), knots - 2)
    t = at - low
    t = t * t * (3.0 - 2.0 * t)  # smoothstep: no creases at the knots
    rows = values[low] * (1.0 - t)[:, None] + values[low + 1] * t[:, None]
    noise: F32 = rows[:, low] * (1.0 - t) + rows[:, low + 1] * t
    return noise


def compute_slopes(field: F32) -> tuple[F32, F32]:
    """The rise of ``field`` [n, n] per metre southwards and per metre eastwards.

    In the precision of ``field``: rounding here would move walls by a cell and so change the town.
    """
    gradient: list[F32] = list(np.gradient(field, CELL_M))
    return gradient[0], gradient[1]


@dataclass(frozen=True)
class Rectangle:
    """An oriented rectangle: centre, half extents along and across ``angle`` (radians)."""

    east_m: float
    south_m: float
    half_along_m: float
    half_across_m: float
    angle: float  # of the long axis, from east towards south


@dataclass(frozen=True)
class CellPatch:
    """The cells of a rectangle: slices into the town, which are inside, and local coordinates."""

    rows: slice
    columns: slice
    inside: Bool
    along_m: F32
    across_m: F32


def rasterize(shape: Rectangle, cells: int, margin_m: float = 0.0) -> CellPatch | None:
    """Cells whose centre lies in ``shape`` grown by ``margin_m``; None if it leaves the town."""
    c, s = math.cos(shape.angle), math.sin(shape.angle)
    half_u, half_v = shape.half_along_m + margin_m, shape.half_across_m + margin_m
    reach_e, reach_s = abs(half_u * c) + abs(half_v * s), abs(half_u * s) + abs(half_v * c)
    first_c, last_c = _find_cell_range(shape.east_m, reach_e)
    first_r, last_r = _find_cell_range(shape.south_m, reach_s)
    if first_c < 0 or first_r < 0 or last_c > cells or last_r > cells:
        return None
    east = (np.arange(first_c, last_c, dtype=np.float32) + 0.5) * CELL_M - shape.east_m
    south = (np.arange(first_r, last_r, dtype=np.float32) + 0.5) * CELL_M - shape.south_m
    along = east[None, :] * c + south[:, None] * s
    across = south[:, None] * c - east[None, :] * s
    inside = (np.abs(along) <= half_u) & (np.abs(across) <= half_v)
    return CellPatch(slice(first_r, last_r), slice(first_c, last_c), inside, along, across)


def _find_cell_range(centre_m: float, reach_m: float) -> tuple[int, int]:
    return math.floor((centre_m - reach_m) / CELL_M), math.ceil((centre_m + reach_m) / CELL_M) + 1
