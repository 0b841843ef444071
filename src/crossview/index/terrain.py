"""What an index knows of heights: tiles of metres above the ground, and of the ground itself.

Tiles lie on a lattice of latitude and longitude whose cells are about a metre wide; those that lie
within reach of a window are kept. A part of an index holds tiles that were written together:

``NAME.above.npy``   uint16 [t, 512, 512]: decimetres above the ground, 65535 where unknown
``NAME.ground.npy``  float32 [t, 64, 64]: elevation of the ground in metres, NaN where unknown
``NAME.tiles.npy``   int64 [t, 2]: row (northwards) and column (eastwards) of each tile
"""

from __future__ import annotations

import hashlib
import io
import math
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crossview.arrays import F32, F64, I64, U16
from crossview.errors import BadImagery
from crossview.files import atomic_write, writing
from crossview.geo.grids import RasterGrid, convert_to_wkt
from crossview.geo.points import EARTH_RADIUS_M, LatLon, find_middle, project_to_local_m, wrap_lon
from crossview.imagery.elevations import HeightKind, Surface, read_surface
from crossview.imagery.provenance import SourceOptions, join_texts
from crossview.index.selection import Held
from crossview.index.store import (
    ABOVE,
    GROUND,
    TILES,
    FileFacts,
    HeightFacts,
    HeightPart,
    Index,
    encode_array,
    map_array,
)

CELL_M, TILE_CELLS, GROUND_CELLS = 1.0, 512, 8
REACH_M = 250.0  # around windows, in which heights are kept
_UNKNOWN, _PER_M = 65535, 10.0
_LEAST_COS = 0.05  # of the latitude: lattices end some 300 km before the poles
_COARSE_PX = 1000  # along a side, of the look at all heights before the work


class HeightPatch(NamedTuple):
    """Heights [h, w] about a place, row 0 in the north; NaN where unknown.

    ``surface_m`` and ``ground_m`` are elevations; ``at``: the place's own row and column (cell
    centres at halves); ``cell_m``: metres of a cell southwards and eastwards.
    """

    surface_m: F32
    ground_m: F32
    at: tuple[float, float]
    cell_m: tuple[float, float]


class Terrain:
    """The heights of an index, memory-mapped."""

    def __init__(self, folder: Path, facts: HeightFacts) -> None:
        self.facts = facts
        self.cell_deg = facts.cell_deg
        self._tiles: dict[tuple[int, int], tuple[U16, F32]] = {}
        size, coarse = TILE_CELLS, TILE_CELLS // GROUND_CELLS
        for part in facts.parts:
            paths = [folder / f"{part.name}.{end}" for end in (ABOVE, GROUND, TILES)]
            above = map_array(paths[0], (part.tiles, size, size), np.uint16)
            ground = map_array(paths[1], (part.tiles, coarse, coarse), np.float32)
            for n, (row, column) in enumerate(map_array(paths[2], (part.tiles, 2), np.int64)):
                self._tiles[int(row), int(column)] = above[n], ground[n]  # later ones know more

    def cut(self, place: LatLon, reach_m: float) -> HeightPatch:
        """What is known within ``reach_m`` of a place, to all sides."""
        metre_lat = math.radians(1.0) * EARTH_RADIUS_M
        cell_m = (
            self.cell_deg[0] * metre_lat,
            self.cell_deg[1] * metre_lat * math.cos(math.radians(place.lat)),
        )
        down, across = (math.ceil(reach_m / metres) + 1 for metres in cell_m)
        up, right = place.lat / self.cell_deg[0], place.lon / self.cell_deg[1]
        top, left = math.floor(up) + down, math.floor(right) - across
        above = np.full((2 * down, 2 * across), np.nan, np.float32)
        ground = np.full_like(above, np.nan)
        north, east = top - np.arange(2 * down), left + np.arange(2 * across)
        columns = round(360.0 / self.cell_deg[1])
        east = (east + columns // 2) % columns - columns // 2  # on beyond longitude 180
        for row in range(int(north.min()) // TILE_CELLS, int(north.max()) // TILE_CELLS + 1):
            rows = np.flatnonzero(north // TILE_CELLS == row)
            for column in np.unique(east // TILE_CELLS).tolist():
                tile = self._tiles.get((row, column))
                if tile is None:
                    continue
                these = np.flatnonzero(east // TILE_CELLS == column)
                # Within a tile rows run southwards, as in pictures.
                r = TILE_CELLS - 1 - north[rows] % TILE_CELLS
                c = east[these] % TILE_CELLS
                box = slice(rows[0], rows[-1] + 1), slice(these[0], these[-1] + 1)
                above[box] = _restore(tile[0][r[0] : r[-1] + 1, c[0] : c[-1] + 1])
                ground[box] = tile[1][np.ix_(r // GROUND_CELLS, c // GROUND_CELLS)]
        return HeightPatch(above + ground, ground, (top + 1 - up, right - left), cell_m)

    def read_tile(self, at: tuple[int, int]) -> tuple[F32, F32] | None:
        """Above the ground, and the ground, of the tile ``at`` (row, column); None: not there."""
        if (tile := self._tiles.get(at)) is None:
            return None
        size = GROUND_CELLS
        return _restore(tile[0]), tile[1].repeat(size, axis=0).repeat(size, axis=1)


def _restore(stored: U16) -> F32:
    metres = np.asarray(stored, np.float32) / np.float32(_PER_M)
    return np.where(np.asarray(stored) == _UNKNOWN, np.float32(np.nan), metres)


def open_terrain(index: Held) -> Terrain | None:
    """The heights of an index; None where it has none."""
    if index.manifest.heights is None or not isinstance(index, Index):
        return None  # a database holds none
    return _open_cached(index)


@lru_cache(maxsize=4)
def _open_cached(index: Index) -> Terrain | None:
    facts = index.manifest.heights
    return None if facts is None else Terrain(index.path, facts)


def look_at_heights(path: Path, lat: F64, lon: F64, options: SourceOptions) -> Surface:
    """All heights about places [N], coarsely: what they are, before the work.

    Raises :class:`BadImagery` for heights of another place, and as :func:`read_surface`.
    """
    middle = find_middle(lat, lon)
    east, north = project_to_local_m(middle, lat, lon)
    reach_m = REACH_M + float(max(np.abs(east).max(), np.abs(north).max()))
    size = min(_COARSE_PX, max(2, round(2.0 * reach_m / CELL_M)))
    grid = RasterGrid.around(middle, 2.0 * reach_m / size, (size, size))
    return read_surface(path, grid, options=options)


def write_heights(  # noqa: PLR0913 - where, what, around what, and what is there already
    folder: Path,
    path: Path,
    lat: F64,
    lon: F64,
    *,
    number: int = 0,
    known: Terrain | None = None,
    options: SourceOptions | None = None,
) -> HeightFacts:
    """Write the heights about places [N] into an index folder as its part ``number``.

    ``known``: what the index has already, to which these are added. Raises
    :class:`BadImagery` where the raster holds none near any of the places.
    """
    options, before = options or SourceOptions(), None if known is None else known.facts
    seen = look_at_heights(path, lat, lon, options)
    if before is None:
        across = max(_LEAST_COS, math.cos(math.radians(find_middle(lat, lon).lat)))
        cell = math.degrees(CELL_M / EARTH_RADIUS_M)
        cell_deg = cell, 180.0 / round(180.0 * across / cell)  # whole cells around the Earth
    else:
        cell_deg = before.cell_deg
    tiles = _list_tiles(lat, lon, cell_deg)
    name = f"heights-{number:05d}"
    raster = path, seen.kind, options
    above, ground = _write_above(folder / f"{name}.{ABOVE}", tiles, cell_deg, raster, known)
    files = {f"{name}.{ABOVE}": above}
    for end, array in ((GROUND, ground), (TILES, tiles)):
        content = encode_array(array)
        atomic_write(folder / f"{name}.{end}", content)
        files[f"{name}.{end}"] = FileFacts(len(content), hashlib.sha256(content).hexdigest())
    if not np.isfinite(ground).any():
        raise BadImagery(
            f"{path} holds no heights near any window, only nodata.\n"
            "Give heights that cover the imagery."
        )
    part = HeightPart(name, len(tiles), files)
    return HeightFacts(
        source=join_texts([*([before.source] if before else []), path.name]),
        cell_deg=cell_deg,
        parts=(*(before.parts if before else ()), part),
    )


def _list_tiles(lat: F64, lon: F64, cell_deg: tuple[float, float]) -> I64:
    """Row and column [t, 2] of the tiles that lie within reach of places [N]."""
    reach = math.degrees(REACH_M / EARTH_RADIUS_M)
    found = set()
    for up in (-1, 0, 1):
        for right in (-1, 0, 1):
            north = lat + up * reach
            east = wrap_lon(lon + right * reach / np.maximum(_LEAST_COS, np.cos(np.radians(lat))))
            row = np.floor(north / cell_deg[0]).astype(np.int64) // TILE_CELLS
            column = np.floor(east / cell_deg[1]).astype(np.int64) // TILE_CELLS
            found |= set(zip(row.tolist(), column.tolist(), strict=True))
    return np.array(sorted(found), np.int64)


def _write_above(
    path: Path,
    tiles: I64,
    cell_deg: tuple[float, float],
    raster: tuple[Path, HeightKind, SourceOptions],
    known: Terrain | None,
) -> tuple[FileFacts, F32]:
    """Write the tiles one after the other; what was written, and their ground [t, g, g]."""
    steps = TILE_CELLS // GROUND_CELLS
    ground = np.full((len(tiles), steps, steps), np.nan, np.float32)
    header = io.BytesIO()
    facts = {"descr": "<u2", "fortran_order": False, "shape": (len(tiles), TILE_CELLS, TILE_CELLS)}
    np.lib.format.write_array_header_1_0(header, facts)
    digest = hashlib.sha256(header.getvalue())
    with writing(path) as temporary, temporary.open("wb") as stream:
        size = stream.write(header.getvalue())
        for n, (row, column) in enumerate(tiles.tolist()):
            above, below = _read_tile((row, column), cell_deg, raster, known)
            blocks = below.reshape(steps, GROUND_CELLS, steps, GROUND_CELLS)
            held = np.isfinite(blocks).sum(axis=(1, 3))
            total = np.nan_to_num(blocks).sum(axis=(1, 3))
            ground[n] = np.where(held > 0, total / np.maximum(held, 1), np.nan)
            stored = np.clip(np.rint(np.nan_to_num(above) * _PER_M), 0, _UNKNOWN - 1)
            content = np.where(np.isnan(above + below), _UNKNOWN, stored).astype("<u2").tobytes()
            digest.update(content)
            size += stream.write(content)
    return FileFacts(size, digest.hexdigest()), ground


def _read_tile(
    at: tuple[int, int],
    cell_deg: tuple[float, float],
    raster: tuple[Path, HeightKind, SourceOptions],
    known: Terrain | None,
) -> tuple[F32, F32]:
    """Above the ground, and the ground; what the raster does not hold, as it was known before."""
    path, kind, options = raster
    (row, column), side = at, TILE_CELLS
    north, west = (row + 1) * side * cell_deg[0], column * side * cell_deg[1]
    transform = (cell_deg[1], 0.0, west, 0.0, -cell_deg[0], north)
    grid = RasterGrid(convert_to_wkt("EPSG:4326"), transform, side, side)
    nothing = np.full((side, side), np.nan, np.float32)
    above, ground = nothing, nothing
    with suppress(BadImagery):  # of the whole region it was read before: this is a hole
        surface = read_surface(path, grid, kind, options)
        above, ground = surface.above_ground_m, surface.ground_m
    if known is None or (old := known.read_tile(at)) is None:
        return above, ground
    gap = np.isnan(above + ground)
    return np.where(gap, old[0], above), np.where(gap, old[1], ground)
