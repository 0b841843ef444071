"""Tilings: square windows of ground metres in a raster's own rows and columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64
from crossview.errors import require
from crossview.geo.grids import RasterGrid

SLACK = 0.005  # a raster that is too small for a window by this share still gets one
STRIDE_SLACK = 0.02  # one window fewer where that widens the strides by 2 % of one in all
NODES = 65  # where the scale along the rows is measured; between them it is interpolated


@dataclass(frozen=True, slots=True)
class WindowRow:
    """Windows side by side: pixels [top, top + height) x [left, left + width) for each left.

    Windows hold at least the requested ground metres: their sides are rounded up to whole pixels.
    """

    top_px: int
    height_px: int
    width_px: int
    lefts_px: I64
    right_m: float  # ground metres per pixel along the row
    down_m: float  # and across it

    def centres(self) -> tuple[F64, F64]:
        """Continuous pixel coordinates (columns, rows) of the windows' centres."""
        columns = np.asarray(self.lefts_px + self.width_px / 2.0, np.float64)
        rows = np.full(len(columns), self.top_px + self.height_px / 2.0)
        return columns, rows


def lay_window_rows(grid: RasterGrid, footprint_m: float, stride_m: float) -> Iterator[WindowRow]:
    """Cover a grid with windows of ``footprint_m`` ground metres, at most ``stride_m`` apart.

    The windows are spread evenly from edge to edge; where the stride is as long as the grid, one
    stands in the middle. The scale is taken at the middle of each row,
    so that windows in Web Mercator hold more pixels towards the poles. A grid smaller than one
    window (by more than half a percent) gives none.
    """
    require(footprint_m > 0.0, f"footprint must be > 0 m, got {footprint_m}.")
    require(stride_m > 0.0, f"stride must be > 0 m, got {stride_m}.")
    middle = grid.width_px / 2.0
    nodes = np.linspace(0.0, grid.height_px, NODES)
    scale = grid.ground(np.full(NODES, middle), nodes).down_m
    steps = np.diff(nodes) * (scale[1:] + scale[:-1]) / 2.0
    metres = np.concatenate([[0.0], np.cumsum(steps)])
    centres = np.interp(_spread_centres(metres[-1], footprint_m, stride_m), metres, nodes)
    ground = grid.ground(np.full(len(centres), middle), centres)
    for centre, right_m, down_m in zip(centres, ground.right_m, ground.down_m, strict=True):
        height = min(_round_up(footprint_m / down_m), grid.height_px)
        width = min(_round_up(footprint_m / right_m), grid.width_px)
        across = _spread_centres(grid.width_px * right_m, footprint_m, stride_m) / right_m
        yield WindowRow(
            top_px=min(max(round(centre - height / 2.0), 0), grid.height_px - height),
            height_px=height,
            width_px=width,
            lefts_px=np.clip(np.rint(across - width / 2.0), 0, grid.width_px - width).astype(int),
            right_m=float(right_m),
            down_m=float(down_m),
        )


def _spread_centres(length_m: float, footprint_m: float, stride_m: float) -> F64:
    """Centres of windows along a length, first and last flush with its ends, or its middle."""
    room_m = length_m - footprint_m
    if room_m < -SLACK * footprint_m:
        return np.empty(0)
    is_single = room_m <= SLACK * footprint_m or stride_m >= length_m * (1.0 - SLACK)
    steps = 0 if is_single else math.ceil(room_m / stride_m - STRIDE_SLACK)
    if steps == 0:
        return np.array([length_m / 2.0])
    return np.linspace(footprint_m / 2.0, length_m - footprint_m / 2.0, steps + 1)


def _round_up(pixels: float) -> int:
    return max(1, math.ceil(pixels - 0.02))
