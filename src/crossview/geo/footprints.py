"""The ground rectangle that an aerial image covers, and the area of many such squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64
from crossview.errors import require
from crossview.geo.points import EARTH_RADIUS_M, LatLon, move_point, project_to_local_m, unroll_lon


@dataclass(frozen=True, slots=True)
class Footprint:
    """An image seen from above: centre, metres on the ground per pixel, size, bearing of up.

    ``up_bearing_deg`` is the bearing of the image's up direction, clockwise from true north; it
    carries the meridian convergence of the imagery's projection. Pixel coordinates are continuous:
    (0, 0) is the upper left corner of the image and pixel centres lie at halves.
    """

    centre: LatLon
    metres_per_px: float
    width_px: int
    height_px: int
    up_bearing_deg: float = 0.0

    def __post_init__(self) -> None:
        require(self.metres_per_px > 0.0, f"metres_per_px must be > 0, got {self.metres_per_px}.")
        require(
            self.width_px > 0 and self.height_px > 0,
            f"a footprint needs at least one pixel, got {self.width_px} x {self.height_px}.",
        )

    @property
    def width_m(self) -> float:
        """Ground width in metres."""
        return self.width_px * self.metres_per_px

    @property
    def height_m(self) -> float:
        """Ground height in metres."""
        return self.height_px * self.metres_per_px

    def latlon(self, column_px: float, row_px: float) -> LatLon:
        """The place under continuous pixel coordinates."""
        right_m = (column_px - self.width_px / 2.0) * self.metres_per_px
        up_m = (self.height_px / 2.0 - row_px) * self.metres_per_px
        turn = math.radians(self.up_bearing_deg)
        east_m = right_m * math.cos(turn) + up_m * math.sin(turn)
        north_m = up_m * math.cos(turn) - right_m * math.sin(turn)
        return move_point(self.centre, east_m=east_m, north_m=north_m)

    def pixel(self, place: LatLon) -> tuple[float, float]:
        """Continuous (column_px, row_px) of a place; the inverse of :meth:`latlon`."""
        east_m, north_m = map(float, project_to_local_m(self.centre, place.lat, place.lon))
        turn = math.radians(self.up_bearing_deg)
        right_m = east_m * math.cos(turn) - north_m * math.sin(turn)
        up_m = east_m * math.sin(turn) + north_m * math.cos(turn)
        return (
            self.width_px / 2.0 + right_m / self.metres_per_px,
            self.height_px / 2.0 - up_m / self.metres_per_px,
        )

    def corners(self) -> tuple[LatLon, LatLon, LatLon, LatLon]:
        """Upper left, upper right, lower right, lower left."""
        w, h = float(self.width_px), float(self.height_px)
        return self.latlon(0, 0), self.latlon(w, 0), self.latlon(w, h), self.latlon(0, h)


_CELLS_ACROSS = 8  # cells that a square is counted in, per side
_BLOCK = 10_000  # squares counted at a time, to bound memory


def measure_covered_km2(lat: F64, lon: F64, side_m: float) -> float:
    """Square kilometres under north-up squares of ``side_m`` about centres [N], overlaps once.

    Counted in cells an eighth of the side wide, so the rim is right to a sixteenth of the side.
    """
    cell_m = side_m / _CELLS_ACROSS
    lon = unroll_lon(lon)
    cells: I64 = np.empty(0, np.int64)
    for start in range(0, len(lat), _BLOCK):
        block = slice(start, start + _BLOCK)
        cells = np.union1d(cells, _number_cells_under(lat[block], lon[block], cell_m))
    return len(cells) * (cell_m / 1000.0) ** 2


def _number_cells_under(lat: F64, lon: F64, cell_m: float) -> I64:
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
