"""The outline of an area made of cells, as polygons that GeoJSON and the map page can draw."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from crossview.arrays import I64
from crossview.geo.antimeridian import Point, Polygon, unroll_ring
from crossview.geo.points import LatLon, local_m, middle_of, moved
from crossview.retrieval.places import Area

_DIGITS = 7  # 1 cm


def outlines(area: Area) -> list[Polygon]:
    """Polygons around the cells of an area, which join where cells share a side.

    Outer rings run counter-clockwise, holes clockwise (RFC 7946). Corners are those of a square
    grid about the area's middle, within half a cell of the truth up to 5 km from there. Of an area
    that crosses longitude 180 they run on beyond it; see ``geo.antimeridian``.
    """
    if not len(area.rows):
        return []
    from rasterio import features  # GDAL: 0.2 s that only an area should pay

    middle = middle_of(area.lat, area.lon)
    column, row = _lattice(area, middle)
    mask = np.zeros((row.max() - row.min() + 1, column.max() - column.min() + 1), np.uint8)
    mask[row - row.min(), column - column.min()] = 1
    corner = (column.min() - 0.5, row.min() - 0.5)
    shapes = features.shapes(mask, mask=mask.astype(bool), connectivity=4)
    return [_placed(shape, corner, area) for shape, _ in shapes]


def _lattice(area: Area, middle: LatLon) -> tuple[I64, I64]:
    """Column and row (down) of each cell in the grid that their bearing of up spans."""
    east, north = local_m(middle, area.lat, area.lon)
    turn = math.radians(area.up_bearing_deg)
    right = east * math.cos(turn) - north * math.sin(turn)
    up = east * math.sin(turn) + north * math.cos(turn)
    right, up = right - right[0], up - up[0]  # the first cell lies on the grid
    column, row = np.rint(right / area.cell_m), np.rint(-up / area.cell_m)
    return column.astype(np.int64), row.astype(np.int64)


def _placed(shape: dict[str, Any], corner: tuple[float, float], area: Area) -> Polygon:
    """Rings in cells as rings of longitude and latitude."""
    rings = [
        unroll_ring([_point(corner[0] + x, corner[1] + y, area) for x, y in ring])
        for ring in shape["coordinates"]
    ]
    first = rings[0][0][0]  # all rings on the same turn around the Earth
    turns = [360.0 * round((ring[0][0] - first) / 360.0) for ring in rings]
    rings = [[(lon - turn, lat) for lon, lat in r] for r, turn in zip(rings, turns, strict=True)]
    return [_turned(ring, outer=number == 0) for number, ring in enumerate(rings)]


def _point(column: float, row: float, area: Area) -> Point:
    """A corner of the grid whose cell (0, 0) is the area's first."""
    turn = math.radians(area.up_bearing_deg)
    right, up = column * area.cell_m, -row * area.cell_m
    at = moved(
        LatLon(float(area.lat[0]), float(area.lon[0])),
        east_m=right * math.cos(turn) + up * math.sin(turn),
        north_m=up * math.cos(turn) - right * math.sin(turn),
    )
    return round(at.lon, _DIGITS), round(at.lat, _DIGITS)


def _turned(ring: list[Point], *, outer: bool) -> list[Point]:
    """The ring in the direction that its role asks for."""
    twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    return ring if (twice > 0.0) == outer else ring[::-1]
