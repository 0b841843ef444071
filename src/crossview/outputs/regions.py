"""Regions: windows of an index that lie together, so that a map need not draw what lies between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64
from crossview.geo.components import label_touching_cells
from crossview.geo.mercator import lat_of_northing, northing_m
from crossview.geo.points import EARTH_RADIUS_M, lon_offsets_deg, unroll_lon, wrap_lon

MOST_REGIONS = 256


@dataclass(frozen=True)
class Extent:
    """A box in Web Mercator, kept in degrees. East runs on beyond 180 where the box crosses it."""

    south: float
    west: float
    north: float
    east: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """South, west, north, east; west is greater than east across 180 (RFC 7946, 5.2)."""
        west, east = (float(wrap_lon(edge)) for edge in (self.west, self.east))
        return self.south, west, self.north, east

    def size_m(self) -> tuple[float, float]:
        """Width and height in metres on the ground, at the middle latitude."""
        squeeze = np.cos(np.radians((self.south + self.north) / 2.0))
        turn = np.radians(1.0) * EARTH_RADIUS_M
        return (self.east - self.west) * turn * squeeze, (self.north - self.south) * turn

    def meets(self, other: Extent) -> bool:
        """Whether two boxes share ground, whichever way round the Earth they are counted."""
        middles = (self.west + self.east) / 2.0, (other.west + other.east) / 2.0
        apart = abs(float(lon_offsets_deg(*middles)))
        wide = (self.east - self.west + other.east - other.west) / 2.0
        return apart < wide and self.south < other.north and other.south < self.north

    def pixel(self, lat: F64, lon: F64, size_px: tuple[int, int]) -> F64:
        """Continuous (column, row) [..., 2] of places on a canvas (width, height) of the box.

        Of the ways to count a longitude the one nearest to the box's middle is taken.
        """
        width, height = size_px
        top, bottom = northing_m([self.north, self.south])
        turns = np.rint((np.asarray(lon) - (self.west + self.east) / 2.0) / 360.0)
        column = (lon - 360.0 * turns - self.west) / (self.east - self.west) * width
        row = (top - northing_m(lat)) / (top - bottom) * height
        return np.stack([column, row], axis=-1)

    def places(self, column: F64, row: F64, size_px: tuple[int, int]) -> tuple[F64, F64]:
        """Latitudes and longitudes of continuous canvas coordinates; the inverse of `pixel`."""
        width, height = size_px
        top, bottom = northing_m([self.north, self.south])
        lon = self.west + column / width * (self.east - self.west)
        return lat_of_northing(top - row / height * (top - bottom)), wrap_lon(lon)


def enclose_points(lat: F64, lon: F64, reach_m: float) -> Extent:
    """The box of points [N], N >= 1, and ``reach_m`` metres around each."""
    up = float(np.degrees(reach_m / EARTH_RADIUS_M))
    across = up / float(np.cos(np.radians(np.abs(lat).max())))
    unrolled = unroll_lon(lon)
    south, north = float(lat.min()) - up, float(lat.max()) + up
    return Extent(south, float(unrolled.min()) - across, north, float(unrolled.max()) + across)


def split_regions(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    """Rows of points [N] that are joined by steps of about ``gap_m``, largest region first.

    When there are more than ``MOST_REGIONS``, wider gaps are bridged.
    """
    if not len(lat):
        return []
    unrolled = unroll_lon(lon)
    found = _join_points(lat, unrolled, gap_m)
    while len(found) > MOST_REGIONS:
        gap_m *= 2.0
        found = _join_points(lat, unrolled, gap_m)
    return sorted(found, key=len, reverse=True)


def _join_points(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    step = float(np.degrees(gap_m / EARTH_RADIUS_M))
    across = step / np.cos(np.radians(np.round(lat)))
    keys = np.stack([np.floor(lat / step), np.floor(lon / across)], axis=1).astype(np.int64)
    cells, number = np.unique(keys, axis=0, return_inverse=True)
    of_point = label_touching_cells(cells)[number.reshape(-1)]
    return [np.flatnonzero(of_point == region) for region in range(int(of_point.max()) + 1)]
