"""Grids of square tiles in any reference system: which tiles an area needs, and folders of them.

A folder ``zoom/x/y.png`` with ``tilegrid.json`` beside the zooms says where its tiles lie; without
that file a folder of tiles is one of Web Mercator.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from crossview.arrays import F64, I64
from crossview.errors import BadImagery, EmptyRegion, InvalidValue
from crossview.geo.grids import RasterGrid, convert_to_wkt, find_x_period, names_files
from crossview.geo.mercator import HALF_WORLD_M, MAX_LAT
from crossview.geo.perimeters import Perimeter
from crossview.imagery.sheets import Sheet
from crossview.imagery.tile_archives import (
    MOST_TILE_PX,
    Lattice,
    TileFacts,
    TileNumber,
    XyzFolder,
    group_touching_tiles,
    make_tile_sheet,
)
from crossview.schema import Positive, Sentence, Text, check, read_object

GRID_FILE = "tilegrid.json"
MOST_COUNTED = 4_000_000  # tiles in the box around an area, before it is refused
_STEPS_PER_TILE = 8  # along the edge of an area
_MOST_STEPS = 2_000_000
_Finite = Annotated[float, Interval(ge=-1e12, le=1e12)]
_Number = Annotated[int, Interval(ge=0, le=10**9)]


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """Square tiles from an upper left corner, in the units of ``crs`` (x east, y north).

    ``columns``: once around the Earth; 0 where a grid does not go round. ``ends``: first column and
    row, last column and row that there are.
    """

    crs: Text
    left: _Finite
    top: _Finite
    unit_per_px: Positive
    tile_px: Annotated[int, Interval(ge=1, le=MOST_TILE_PX)]
    columns: _Number = 0
    ends: tuple[_Number, _Number, _Number, _Number] | None = None

    def place(self, first: TileNumber, last: TileNumber) -> RasterGrid:
        """The pixels of the tiles from ``first`` to ``last``, both included."""
        side = self.unit_per_px * self.tile_px
        return RasterGrid(
            convert_to_wkt(self.crs),
            (self.unit_per_px, 0.0, self.left + first[0] * side,
             0.0, -self.unit_per_px, self.top - first[1] * side),
            (last[0] - first[0] + 1) * self.tile_px,
            (last[1] - first[1] + 1) * self.tile_px,
        )  # fmt: skip

    def measure_px_m(self, area: Perimeter) -> float:
        """Ground metres per pixel in the middle of an area (the coarser of both directions)."""
        return self._measure_m(area, self.unit_per_px)

    def find_tiles(self, area: Perimeter, margin_m: float = 0.0) -> list[TileNumber]:
        """The tiles (column, row) that an area touches, and about ``margin_m`` around it.

        Raises :class:`EmptyRegion` where the grid has none there, and :class:`InvalidValue` for an
        area of too many.
        """
        local, west, north = self._unroll(area)
        marked = self._mark(area, local)
        reach = math.ceil(margin_m / self._measure_m(area, self.unit_per_px * self.tile_px))
        if margin_m > 0.0:
            around = np.arange(-reach, reach + 1)
            steps = np.stack(np.meshgrid(around, around), axis=-1).reshape(-1, 2)
            marked = np.unique((marked[:, None] + steps).reshape(-1, 2), axis=0)
        tiles = marked + np.array([west, north])
        if self.columns:
            tiles[:, 0] %= self.columns
            tiles = np.unique(tiles, axis=0)
        if self.ends is not None:
            first, last = np.array(self.ends[:2]), np.array(self.ends[2:])
            tiles = tiles[((tiles >= first) & (tiles <= last)).all(axis=1)]
        if not len(tiles):
            raise EmptyRegion("The service has no imagery in that area: it lies outside of it.")
        return [(int(x), int(y)) for x, y in tiles]

    def contains(self, area: Perimeter, columns: int, rows: int) -> bool:
        """Whether the middle of an area lies within so many columns and rows of tiles."""
        lon, lat = _find_middle(area)
        column, row = self._count_from_corner().pixel(lat, lon)
        return bool(-1.0 <= column <= columns + 1.0 and -1.0 <= row <= rows + 1.0)

    def _unroll(self, area: Perimeter) -> tuple[RasterGrid, int, int]:
        """A grid with a pixel per tile that begins at the tile in the middle, and its number."""
        lon, lat = _find_middle(area)
        column, row = self._count_from_corner().pixel(lat, lon)
        if not (math.isfinite(column) and math.isfinite(row) and abs(column) + abs(row) < 1e12):
            raise EmptyRegion("The area lies outside of the reference system of the service.")
        west, north = math.floor(column), math.floor(row)
        return self._count_in_tiles(west, north), west, north

    def _count_from_corner(self) -> RasterGrid:
        """A grid with a pixel per tile; once around the Earth where longitudes go round."""
        around = (find_x_period(convert_to_wkt(self.crs)) or 0.0) / self.unit_per_px / self.tile_px
        return replace(self._count_in_tiles(0, 0), width_px=max(1, math.ceil(around)))

    def _count_in_tiles(self, west: int, north: int) -> RasterGrid:
        side = self.unit_per_px * self.tile_px
        x, y = self.left + west * side, self.top - north * side
        return RasterGrid(convert_to_wkt(self.crs), (side, 0.0, x, 0.0, -side, y), 1, 1)

    def _mark(self, area: Perimeter, local: RasterGrid) -> I64:
        """Numbers [n, 2] of tiles that the area touches, counted from ``local``'s."""
        edges = [self._follow(ring, local) for polygon in area.polygons for ring in polygon]
        touched = np.concatenate([_list_touched(edge) for edge in edges])
        low, high = touched.min(axis=0), touched.max(axis=0)
        if float(np.prod((high - low + 1).astype(float))) > MOST_COUNTED:
            raise InvalidValue(_describe_too_large(area))
        xs, ys = (np.arange(low[k], high[k] + 1) for k in (0, 1))
        inner = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        lat, lon = local.latlon(inner[:, 0] + 0.5, inner[:, 1] + 0.5)
        inside: I64 = inner[area.contains(lat, lon)]
        return np.unique(np.concatenate([touched, inside]), axis=0)

    def _follow(self, ring: tuple[tuple[float, float], ...], local: RasterGrid) -> F64:
        """Points [n, 2] along a ring, in tiles, closer to each other than a tile is wide."""
        corners = np.array(ring, np.float64)
        ends = self._convert(corners, local)
        apart = np.abs(np.diff(ends, axis=0)).max(axis=1)
        steps = np.ceil(apart * _STEPS_PER_TILE).astype(np.int64) + 1
        if steps.sum() > _MOST_STEPS:
            raise InvalidValue(_describe_too_large(Perimeter(((ring,),))))
        parts = [
            corners[i] + np.linspace(0.0, 1.0, n, endpoint=False)[:, None] * (b - corners[i])
            for i, (n, b) in enumerate(zip(steps, corners[1:], strict=True))
        ]
        return self._convert(np.concatenate([*parts, corners[-1:]]), local)

    def _convert(self, places: F64, local: RasterGrid) -> F64:
        lat = places[:, 1]
        if self.columns:  # of the whole Earth, without its poles in Web Mercator
            lat = np.clip(lat, -MAX_LAT, MAX_LAT)
        columns, rows = local.pixel(lat, places[:, 0])
        points: F64 = np.stack([columns, rows], axis=-1)
        if not np.isfinite(points).all():
            raise EmptyRegion("The area lies outside of the reference system of the service.")
        return points

    def _measure_m(self, area: Perimeter, units: float) -> float:
        """Ground metres of so many units in the middle of an area."""
        lon, lat = _find_middle(area)
        column, row = self._count_from_corner().pixel(lat, lon)
        side = self.unit_per_px * self.tile_px
        x, y = self.left + float(column) * side, self.top - float(row) * side
        grid = RasterGrid(convert_to_wkt(self.crs), (units, 0.0, x, 0.0, -units, y), 1, 1)
        ground = grid.ground(0.0, 0.0)
        return max(float(ground.right_m), float(ground.down_m))


def make_mercator_grid(zoom: int, tile_px: int = 256) -> TileGrid:
    """The tiles of a zoom of Web Mercator."""
    last = 2**zoom - 1
    return TileGrid(
        crs="EPSG:3857",
        left=-HALF_WORLD_M,
        top=HALF_WORLD_M,
        unit_per_px=2.0 * HALF_WORLD_M / (tile_px * 2**zoom),
        tile_px=tile_px,
        columns=2**zoom,
        ends=(0, 0, last, last),
    )


@dataclass(frozen=True, kw_only=True)
class GridFacts:
    """What ``tilegrid.json`` says: the grid of a folder's tiles, and whose they are."""

    grid: TileGrid
    attribution: Sentence = ""
    date: Sentence = ""

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=1)


class GridFolder:
    """A folder of tiles with their own grid; one zoom, rows from the north."""

    def __init__(self, path: Path) -> None:
        place = path / GRID_FILE
        try:
            said = check(GridFacts, read_object(place))
            if names_files(said.grid.crs):
                raise ValueError("its reference system names files")
            convert_to_wkt(said.grid.crs)
        except (ValueError, OSError, InvalidValue) as problem:
            raise BadImagery(
                f"{place} cannot be read as the grid of tiles: {problem}.\nFetch the imagery "
                "again, or remove the file if these are tiles of Web Mercator."
            ) from problem
        self._folder = XyzFolder(path, stated=False)
        self.grid, self.name, self.notes = said.grid, str(path), ()
        self.facts = TileFacts(attribution=said.attribution, date=said.date, files=(place,))

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a folder says where its tiles lie."""
        return (path / GRID_FILE).is_file()

    def make_sheets(self, nodata: tuple[float, ...] | None) -> list[Sheet]:
        """Tiles that touch as sheets, those of the only zoom."""
        zooms = self._folder.zooms()
        if len(zooms) != 1:
            raise BadImagery(f"{self.name} should hold tiles of one zoom, and holds {len(zooms)}.")
        tiles = self._folder.tiles(zooms[0])
        around = self.grid.columns or max(x for x, _ in tiles) + 3  # it does not go round
        lattice = Lattice(self.grid.tile_px, around, self.grid.place)
        return [
            make_tile_sheet(self._folder, zooms[0], group, lattice, nodata)
            for group in group_touching_tiles(tiles, around)
        ]

    def files(self) -> list[Path]:
        """What changes on disk when the folder does."""
        return [*self._folder.files(), *self.facts.files]

    def close(self) -> None:
        """Nothing is held open."""


def _find_middle(area: Perimeter) -> tuple[float, float]:
    """Longitude and latitude of the middle of the box around an area."""
    corners = np.array([corner for polygon in area.polygons for corner in polygon[0]], np.float64)
    lon, lat = (corners.min(axis=0) + corners.max(axis=0)) / 2.0
    return float(lon), float(lat)


def _list_touched(points: F64) -> I64:
    """Numbers [n, 2] of all tiles between neighbouring points that are less than a tile apart."""
    floors = np.floor(points).astype(np.int64)
    low = np.minimum(floors[:-1], floors[1:])
    high = np.maximum(floors[:-1], floors[1:])
    one, other = (np.stack([a[:, 0], b[:, 1]], axis=-1) for a, b in ((low, high), (high, low)))
    touched: I64 = np.unique(np.concatenate([floors, low, high, one, other]), axis=0)
    return touched


def _describe_too_large(area: Perimeter) -> str:
    return (
        f"The area has {area.measure_km2():,.0f} km2: more tiles than can be fetched from a "
        "public service.\nTake a part of it, such as a town, or download the imagery as files."
    )
