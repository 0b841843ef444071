"""Regions: windows of an index that lie together, so that a map need not draw what lies between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64
from crossview.geo.mercator import HALF_WORLD_M
from crossview.geo.points import EARTH_RADIUS_M

Cell = tuple[int, int]
MOST_REGIONS = 256


@dataclass(frozen=True)
class Extent:
    """A box in Web Mercator, kept in degrees."""

    south: float
    west: float
    north: float
    east: float

    def size_m(self) -> tuple[float, float]:
        """Width and height in metres on the ground, at the middle latitude."""
        squeeze = np.cos(np.radians((self.south + self.north) / 2.0))
        turn = np.radians(1.0) * EARTH_RADIUS_M
        return (self.east - self.west) * turn * squeeze, (self.north - self.south) * turn

    def pixel(self, lat: F64, lon: F64, size_px: tuple[int, int]) -> F64:
        """Continuous (column, row) [..., 2] of places on a canvas (width, height) of the box."""
        width, height = size_px
        top, bottom = mercator_y(np.array([self.north, self.south]))
        column = (lon - self.west) / (self.east - self.west) * width
        row = (top - mercator_y(lat)) / (top - bottom) * height
        return np.stack([column, row], axis=-1)

    def places(self, column: F64, row: F64, size_px: tuple[int, int]) -> tuple[F64, F64]:
        """Latitudes and longitudes of continuous canvas coordinates; the inverse of `pixel`."""
        width, height = size_px
        top, bottom = mercator_y(np.array([self.north, self.south]))
        y = top - row / height * (top - bottom)
        lat: F64 = np.degrees(np.arctan(np.sinh(y / HALF_WORLD_M * np.pi)))
        return lat, self.west + column / width * (self.east - self.west)


def mercator_y(lat: F64) -> F64:
    """Web Mercator northing in metres of latitudes in degrees."""
    y: F64 = np.arcsinh(np.tan(np.radians(lat))) / np.pi * HALF_WORLD_M
    return y


def extent(lat: F64, lon: F64, reach_m: float) -> Extent:
    """The box of points [N], N >= 1, and ``reach_m`` metres around each."""
    up = float(np.degrees(reach_m / EARTH_RADIUS_M))
    across = up / float(np.cos(np.radians(np.abs(lat).max())))
    south, north = float(lat.min()) - up, float(lat.max()) + up
    return Extent(south, float(lon.min()) - across, north, float(lon.max()) + across)


def regions(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    """Rows of points [N] that are joined by steps of about ``gap_m``, largest region first.

    When there are more than ``MOST_REGIONS``, wider gaps are bridged.
    """
    if not len(lat):
        return []
    found = _joined(lat, lon, gap_m)
    while len(found) > MOST_REGIONS:
        gap_m *= 2.0
        found = _joined(lat, lon, gap_m)
    return sorted(found, key=len, reverse=True)


def _joined(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    step = float(np.degrees(gap_m / EARTH_RADIUS_M))
    across = step / np.cos(np.radians(np.round(lat)))
    keys = np.stack([np.floor(lat / step), np.floor(lon / across)], axis=1).astype(np.int64)
    cells, number = np.unique(keys, axis=0, return_inverse=True)
    region_of_cell = np.zeros(len(cells), np.int64)
    count = 0
    for count, group in enumerate(
        _touching({(int(r), int(c)): i for i, (r, c) in enumerate(cells)})
    ):
        region_of_cell[group] = count
    of_point = region_of_cell[number.reshape(-1)]
    return [np.flatnonzero(of_point == region) for region in range(count + 1)]


def _touching(waiting: dict[Cell, int]) -> Iterator[list[int]]:
    """Groups of cells (by number) that touch at a side or a corner."""
    while waiting:
        cell, number = waiting.popitem()
        group, border = [number], [cell]
        while border:
            row, column = border.pop()
            for near in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if (found := waiting.pop(near, None)) is not None:
                    group.append(found)
                    border.append(near)
        yield group
