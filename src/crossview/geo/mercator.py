"""Web Mercator (EPSG:3857) and its pyramid of square tiles, numbered from the north-west."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64
from crossview.errors import require
from crossview.geo import points
from crossview.geo.grids import RasterGrid, convert_to_wkt

HALF_WORLD_M = math.pi * 6_378_137.0  # EPSG:3857 spans +- this much in x and y
MAX_LAT = math.degrees(2.0 * math.atan(math.exp(math.pi)) - math.pi / 2.0)  # 85.05 degrees


def project_lat(lat: ArrayLike) -> F64:
    """Web Mercator metres north of the equator of latitudes in degrees."""
    y: F64 = np.arcsinh(np.tan(np.radians(lat))) / np.pi * HALF_WORLD_M
    return y


def unproject_northing(y: ArrayLike) -> F64:
    """The inverse of :func:`project_lat`."""
    lat: F64 = np.degrees(np.arctan(np.sinh(np.asarray(y, np.float64) / HALF_WORLD_M * np.pi)))
    return lat


def project(place: points.LatLon) -> tuple[float, float]:
    """Web Mercator metres (x east, y north) of a place within +-85.05 degrees of latitude."""
    require(
        abs(place.lat) <= MAX_LAT, f"latitude {place.lat} is outside of Web Mercator (+-85.05)."
    )
    return place.lon / 180.0 * HALF_WORLD_M, float(project_lat(place.lat))


def unproject(x: float, y: float) -> points.LatLon:
    """The inverse of :func:`project`."""
    return points.LatLon(float(unproject_northing(y)), x / HALF_WORLD_M * 180.0)


def find_tile(place: points.LatLon, zoom: int) -> tuple[float, float]:
    """Fractional tile numbers (x, y): the tile is their floor, the rest the position within it."""
    x, y = project(place)
    tile_m = 2.0 * HALF_WORLD_M / 2**zoom
    return (x + HALF_WORLD_M) / tile_m, (HALF_WORLD_M - y) / tile_m


def find_tile_edges(zoom: int, x: int, y: int) -> tuple[float, float, float, float]:
    """South, west, north and east of a tile in degrees."""
    tile_m = 2.0 * HALF_WORLD_M / 2**zoom
    north, south = unproject_northing([HALF_WORLD_M - y * tile_m, HALF_WORLD_M - (y + 1) * tile_m])
    return (
        float(south),
        360.0 * x / 2**zoom - 180.0,
        float(north),
        360.0 * (x + 1) / 2**zoom - 180.0,
    )


def compute_nominal_px_m(zoom: int, tile_px: int = 256) -> float:
    """Web Mercator metres per pixel: ground metres at the equator only."""
    return float(2.0 * HALF_WORLD_M / (tile_px * 2**zoom))


def compute_ground_px_m(lat: ArrayLike, zoom: int, tile_px: int = 256) -> F64:
    """Ground metres per pixel at latitudes: the nominal pixel size times their cosines."""
    metres: F64 = compute_nominal_px_m(zoom, tile_px) * np.cos(np.radians(lat))
    return metres


def compute_metres_per_px(lat: float, zoom: int, tile_px: int = 256) -> float:
    """:func:`compute_ground_px_m` at one latitude."""
    return float(compute_ground_px_m(lat, zoom, tile_px))


def build_tile_grid(
    zoom: int, first: tuple[int, int], last: tuple[int, int], tile_px: int
) -> RasterGrid:
    """The grid of the tiles from ``first`` (x, y) in the north-west to ``last``, both included."""
    pixel = compute_nominal_px_m(zoom, tile_px)
    west = first[0] * tile_px * pixel - HALF_WORLD_M
    north = HALF_WORLD_M - first[1] * tile_px * pixel
    return RasterGrid(
        convert_to_wkt("EPSG:3857"),
        (pixel, 0.0, west, 0.0, -pixel, north),
        (last[0] - first[0] + 1) * tile_px,
        (last[1] - first[1] + 1) * tile_px,
    )


@dataclass(frozen=True)
class Extent:
    """A box in Web Mercator, in degrees. East runs on beyond 180 where the box crosses it."""

    south: float
    west: float
    north: float
    east: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """South, west, north, east; west is greater than east across 180 (RFC 7946, 5.2)."""
        west, east = (float(points.wrap_lon(edge)) for edge in (self.west, self.east))
        return self.south, west, self.north, east

    def size_m(self) -> tuple[float, float]:
        """Width and height in metres on the ground, at the middle latitude."""
        squeeze = np.cos(np.radians((self.south + self.north) / 2.0))
        turn = np.radians(1.0) * points.EARTH_RADIUS_M
        return (self.east - self.west) * turn * squeeze, (self.north - self.south) * turn

    def meets(self, other: Extent) -> bool:
        """Whether two boxes share ground, whichever way round the Earth they are counted."""
        middles = (self.west + self.east) / 2.0, (other.west + other.east) / 2.0
        apart = abs(float(points.measure_lon_offsets_deg(*middles)))
        wide = (self.east - self.west + other.east - other.west) / 2.0
        return apart < wide and self.south < other.north and other.south < self.north

    def pixel(self, lat: F64, lon: F64, size_px: tuple[int, int]) -> F64:
        """Continuous (column, row) [..., 2] of places on a canvas (width, height) of the box.

        Longitudes are counted so that they lie nearest to the box's middle.
        """
        width, height = size_px
        top, bottom = project_lat([self.north, self.south])
        turns = np.rint((np.asarray(lon) - (self.west + self.east) / 2.0) / 360.0)
        column = (lon - 360.0 * turns - self.west) / (self.east - self.west) * width
        row = (top - project_lat(lat)) / (top - bottom) * height
        return np.stack([column, row], axis=-1)

    def places(self, column: F64, row: F64, size_px: tuple[int, int]) -> tuple[F64, F64]:
        """Latitudes and longitudes of continuous canvas coordinates; the inverse of `pixel`."""
        width, height = size_px
        top, bottom = project_lat([self.north, self.south])
        lon = self.west + column / width * (self.east - self.west)
        return unproject_northing(top - row / height * (top - bottom)), points.wrap_lon(lon)


def enclose_points(lat: F64, lon: F64, reach_m: float) -> Extent:
    """The box of points [N], N >= 1, and ``reach_m`` metres around each."""
    up = float(np.degrees(reach_m / points.EARTH_RADIUS_M))
    across = up / float(np.cos(np.radians(np.abs(lat).max())))
    unrolled = points.unroll_lon(lon)
    south, north = float(lat.min()) - up, float(lat.max()) + up
    return Extent(south, float(unrolled.min()) - across, north, float(unrolled.max()) + across)
