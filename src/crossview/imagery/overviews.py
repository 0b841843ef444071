"""Overview: all of some imagery as one small picture in Web Mercator, as web maps show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossview.geo.grids import RasterGrid, wkt
from crossview.geo.mercator import MAX_LAT, latlon_from_xy, xy_from_latlon
from crossview.geo.points import LatLon
from crossview.imagery.info import ImageryInfo, bounds_of
from crossview.imagery.rasters import gdal
from crossview.imagery.sheets import Box, Bytes, Patch, Sheet
from crossview.imagery.sources import open_sources


@dataclass(frozen=True)
class Overview:
    """RGB pixels [H, W, 3], where they hold imagery [H, W] (255 or 0), and their extent.

    ``downsampled``: how many times coarser the picture is than the imagery, 1 or more.
    """

    pixels: Bytes
    valid: Bytes
    south: float
    west: float
    north: float
    east: float
    downsampled: float
    attribution: str


def overview(sources: ImageryInfo | Sequence[str | Path], max_px: int = 2048) -> Overview:
    """Imagery in at most ``max_px`` per side, from paths or from what an index remembers.

    Raises :class:`BadImagery` where it is no longer there.
    """
    if isinstance(sources, ImageryInfo):
        opened = open_sources(sources.sources, sources.options)
    else:
        opened = open_sources(sources)
    with opened as imagery:
        canvas, downsampled = _canvas(imagery.sheets, max_px)
        pixels = np.zeros((canvas.height_px, canvas.width_px, 3), np.uint8)
        valid = np.zeros((canvas.height_px, canvas.width_px), np.uint8)
        for sheet in imagery.sheets:
            box = _box_on(canvas, sheet)
            patch = _warped(sheet, canvas, box)
            data = np.asarray(patch.valid) > 0
            box.cut(pixels)[data] = patch.pixels[data]
            box.cut(valid)[data] = 255
        attribution = imagery.info.attribution
    a, _, west, _, e, north = canvas.transform
    south_west = latlon_from_xy(west, north + e * canvas.height_px)
    north_east = latlon_from_xy(west + a * canvas.width_px, north)
    return Overview(
        pixels, valid,
        south_west.lat, south_west.lon, north_east.lat, north_east.lon,
        downsampled, attribution,
    )  # fmt: skip


def _canvas(sheets: Sequence[Sheet], max_px: int) -> tuple[RasterGrid, float]:
    """The picture's grid, and how much coarser it is than the finest sheet."""
    south, west, north, east = bounds_of(sheets)
    left, bottom = xy_from_latlon(LatLon(max(south, -MAX_LAT), west))
    right, top = xy_from_latlon(LatLon(min(north, MAX_LAT), east))
    stretched = math.cos(math.radians((south + north) / 2.0))  # ground metres per mercator metre
    finest = min(sheet.metres_per_px for sheet in sheets) / stretched
    pixel = max(finest, (right - left) / max_px, (top - bottom) / max_px)
    width, height = (max(1, round(side / pixel)) for side in (right - left, top - bottom))
    across, down = (right - left) / width, (top - bottom) / height
    transform = (across, 0.0, left, 0.0, -down, top)
    return RasterGrid(wkt("EPSG:3857"), transform, width, height), pixel / finest


def _box_on(canvas: RasterGrid, sheet: Sheet) -> Box:
    """The pixels of the canvas that a sheet may reach."""
    south, west, north, east = bounds_of([sheet])
    columns, rows = canvas.pixel([north, south], [west, east])
    top, left = max(0, math.floor(rows[0]) - 1), max(0, math.floor(columns[0]) - 1)
    bottom = min(canvas.height_px, math.ceil(rows[1]) + 1)
    return Box(top, bottom, left, min(canvas.width_px, math.ceil(columns[1]) + 1))


def _warped(sheet: Sheet, canvas: RasterGrid, box: Box) -> Patch:
    """A sheet's pixels on a box of the canvas."""
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.warp import reproject

    height = min(sheet.grid.height_px, 2 * box.height)
    width = min(sheet.grid.width_px, 2 * box.width)
    patch = sheet.store.shrunk(height, width)
    a, b, c, d, e, f = sheet.grid.transform
    wider, taller = sheet.grid.width_px / width, sheet.grid.height_px / height
    part = canvas.cropped(box.left, box.top, box.width, box.height)
    how: dict[str, Any] = {
        "src_transform": Affine(a * wider, b * taller, c, d * wider, e * taller, f),
        "src_crs": sheet.grid.crs,
        "dst_transform": Affine(*part.transform),
        "dst_crs": canvas.crs,
    }
    valid = np.full((height, width), 255, np.uint8) if patch.valid is None else patch.valid
    pixels = np.zeros((3, box.height, box.width), np.uint8)
    reached = np.zeros((box.height, box.width), np.uint8)
    with gdal():
        planes = np.ascontiguousarray(np.moveaxis(patch.pixels, -1, 0))
        reproject(planes, pixels, resampling=Resampling.average, **how)
        reproject(valid, reached, resampling=Resampling.nearest, **how)
    return Patch(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), reached)
