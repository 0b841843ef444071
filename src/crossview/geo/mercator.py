"""Web Mercator (EPSG:3857) and its pyramid of square tiles, numbered from the north-west."""

from __future__ import annotations

import math

from crossview.errors import require
from crossview.geo.grids import RasterGrid, wkt
from crossview.geo.points import LatLon

HALF_WORLD_M = math.pi * 6_378_137.0  # EPSG:3857 spans +- this much in x and y
MAX_LAT = math.degrees(2.0 * math.atan(math.exp(math.pi)) - math.pi / 2.0)  # 85.05 degrees


def xy_from_latlon(place: LatLon) -> tuple[float, float]:
    """Web Mercator metres (x east, y north) of a place within +-85.05 degrees of latitude."""
    require(
        abs(place.lat) <= MAX_LAT, f"latitude {place.lat} is outside of Web Mercator (+-85.05)."
    )
    x = place.lon / 180.0 * HALF_WORLD_M
    y = math.asinh(math.tan(math.radians(place.lat))) / math.pi * HALF_WORLD_M
    return x, y


def latlon_from_xy(x: float, y: float) -> LatLon:
    """The inverse of :func:`xy_from_latlon`."""
    lat = math.degrees(math.atan(math.sinh(y / HALF_WORLD_M * math.pi)))
    return LatLon(lat, x / HALF_WORLD_M * 180.0)


def tile_of(place: LatLon, zoom: int) -> tuple[float, float]:
    """Fractional tile numbers (x, y): the tile is their floor, the rest is the place within it."""
    x, y = xy_from_latlon(place)
    tile_m = 2.0 * HALF_WORLD_M / 2**zoom
    return (x + HALF_WORLD_M) / tile_m, (HALF_WORLD_M - y) / tile_m


def nominal_px_m(zoom: int, tile_px: int = 256) -> float:
    """Web Mercator metres per pixel: ground metres at the equator only."""
    return float(2.0 * HALF_WORLD_M / (tile_px * 2**zoom))


def metres_per_px(lat: float, zoom: int, tile_px: int = 256) -> float:
    """Ground metres per pixel at a latitude: the nominal pixel size times cos(latitude)."""
    return nominal_px_m(zoom, tile_px) * math.cos(math.radians(lat))


def tile_grid(zoom: int, first: tuple[int, int], last: tuple[int, int], tile_px: int) -> RasterGrid:
    """The grid of the tiles from ``first`` (x, y) in the north-west to ``last``, both included."""
    pixel = nominal_px_m(zoom, tile_px)
    west = first[0] * tile_px * pixel - HALF_WORLD_M
    north = HALF_WORLD_M - first[1] * tile_px * pixel
    return RasterGrid(
        wkt("EPSG:3857"),
        (pixel, 0.0, west, 0.0, -pixel, north),
        (last[0] - first[0] + 1) * tile_px,
        (last[1] - first[1] + 1) * tile_px,
    )
