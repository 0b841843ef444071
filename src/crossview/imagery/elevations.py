"""Heights from files, brought to the cells of a world: rasters and coloured point clouds.

A raster holds metres above the ground (an nDSM) or elevations of the surface (a DSM), of which the
ground is subtracted. Which of them it is, is seen by its lowest values and can be said.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from crossview.arrays import F32, F64
from crossview.errors import BadImagery, TooCoarse
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.rasters import OpenRasters, RasterStore, Rendering, read_raster_file
from crossview.imagery.sheets import Box
from crossview.worlds.relief import Heights, check_heights, compute_height_above_ground

HeightKind = Literal["auto", "surface", "above-ground"]
COARSEST_M = 30.0  # between samples; beyond it nothing that stands on the ground is left
_MARGIN_M = 70.0  # around the imagery, in which the ground below it is looked for
_MOST_PX = 30_000_000  # read at once; more are averaged
_LATTICE = 33  # points along a side between which projections are taken as straight
_GROUND_BAND_M = (-1.5, 1.5)  # values about the ground in a raster of heights above it
MOST_CLOUD_BYTES = 2_000_000_000  # of an unpacked cloud: some 80 million points
_LEAST_POINTS = 1_000  # of a cloud over the imagery


@dataclass(frozen=True, eq=False)
class Surface:
    """A raster of heights over the pixels [h, w] of a grid, in metres; NaN where it has none.

    ``ground_m``: elevation of the ground, 0 where the raster holds heights above it. ``kind``: what
    it was taken for.
    """

    above_ground_m: F32
    ground_m: F32
    spacing_m: float
    kind: HeightKind
    notes: tuple[str, ...]


def read_heights(
    path: Path, grid: RasterGrid, kind: HeightKind = "auto", options: SourceOptions | None = None
) -> tuple[Heights, tuple[str, ...]]:
    """Metres above the ground over the pixels of ``grid`` by a raster, and notes on what it is.

    Raises as :func:`read_surface`.
    """
    surface = read_surface(path, grid, kind, options)
    return Heights(surface.above_ground_m, surface.spacing_m), surface.notes


def read_surface(
    path: Path, grid: RasterGrid, kind: HeightKind = "auto", options: SourceOptions | None = None
) -> Surface:
    """What stands on the ground, and how high the ground lies, over the pixels of ``grid``.

    Raises :class:`BadImagery` for a raster of another place, without values there, or whose values
    are no heights above the ground though they are said to be.
    """
    options = replace(options or SourceOptions(), bands=(1,))
    file, own = read_raster_file(path, options).place(options.crs)
    column, row = _project(grid, own)
    spacing_m = float(np.mean([own.ground(*_find_middle(own)).right_m,
                               own.ground(*_find_middle(own)).down_m]))  # fmt: skip
    if spacing_m > COARSEST_M:
        raise TooCoarse(
            f"{path} has a height every {spacing_m:.0f} m; worlds need one every {COARSEST_M:.0f} "
            "m at least.\nTake a finer surface model, building outlines, or no heights."
        )
    box = _find_box(own, column, row, _MARGIN_M / spacing_m)
    if box is None:
        raise BadImagery(_say_how_far(path, grid, own))
    less = max(1.0, math.sqrt(box.height * box.width / _MOST_PX))
    shape = max(1, round(box.height / less)), max(1, round(box.width / less))
    rasters = OpenRasters(allow_vrt=bool(options.allow_vrt))
    try:
        values = RasterStore(file, Rendering(file.bands), rasters).measure(box, shape)
    finally:
        rasters.close()
    above, found, notes = _subtract_ground(values, spacing_m * less, kind, str(path))
    ground = np.zeros_like(values) if found == "above-ground" else values - above
    over, below = (
        cv2.remap(
            plane, ((column - box.left) / less - 0.5).astype(np.float32),
            ((row - box.top) / less - 0.5).astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"),
        )
        for plane in (above, ground)
    )  # fmt: skip
    check_heights(over, str(path))
    return Surface(over, below, spacing_m * less, found, (*file.notes, *notes))


def read_cloud(path: Path, grid: RasterGrid) -> Heights:
    """Heights above the ground over the pixels of ``grid`` by a cloud in NumPy's ``.npz``.

    ``xyz`` [n, 3]: metres east, north and up, its square around the middle of ``grid``.
    """
    if path.suffix.lower() in {".las", ".laz", ".e57", ".ply"}:
        raise BadImagery(
            f"{path.name}: point clouds of this kind are not read. Make a surface model of it, for "
            "example: pdal translate IN.laz dsm.tif --writer gdal "
            "--writers.gdal.resolution=0.5 --writers.gdal.output_type=max"
        )
    try:
        with zipfile.ZipFile(path) as packed, packed.open("xyz.npy") as member:
            if packed.getinfo("xyz.npy").file_size > MOST_CLOUD_BYTES:
                raise ValueError(f"unpacked it has more than {MOST_CLOUD_BYTES} bytes")
            xyz = np.asarray(np.lib.format.read_array(member, allow_pickle=False), np.float64)
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as problem:
        raise BadImagery(
            f"{path} is no point cloud that is read: an .npz file with an array 'xyz' of "
            f"[n, 3] metres east, north and up ({problem})."
        ) from problem
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise BadImagery(f"{path}: 'xyz' must be [n, 3] metres, and is {list(xyz.shape)}.")
    return rasterize_cloud(xyz, grid, str(path))


def rasterize_cloud(xyz: F64, grid: RasterGrid, what: str) -> Heights:
    """The highest point of every pixel of ``grid`` above the ground; gaps of a few are closed.

    ``xyz`` [n, 3] in metres; the middle of its square lies on the middle of ``grid``.
    """
    xyz = xyz[np.isfinite(xyz).all(axis=1)]
    if len(xyz) < _LEAST_POINTS:
        raise BadImagery(f"{what} holds {len(xyz)} points; {_LEAST_POINTS} are the least.")
    low, high = xyz[:, :2].min(axis=0), xyz[:, :2].max(axis=0)
    east, north = (xyz[:, :2] - 0.5 * (low + high)).T
    scale = grid.ground(*_find_middle(grid))
    turn = math.radians(float(scale.up_bearing_deg))
    right = (east * math.cos(turn) - north * math.sin(turn)) / float(scale.right_m)
    up = (east * math.sin(turn) + north * math.cos(turn)) / float(scale.down_m)
    column = np.floor(grid.width_px / 2.0 + right).astype(np.int64)
    row = np.floor(grid.height_px / 2.0 - up).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < grid.width_px) & (row < grid.height_px)
    top = np.full((grid.height_px, grid.width_px), -np.inf, np.float32)
    np.maximum.at(top, (row[inside], column[inside]), xyz[inside, 2].astype(np.float32))
    closed = cv2.dilate(top, np.ones((5, 5), np.uint8))
    top = np.where(np.isfinite(top), top, closed)
    if np.isfinite(top).sum() < _LEAST_POINTS:
        raise BadImagery(f"{what} covers next to nothing of the imagery.")
    metres = float(scale.right_m)
    above = compute_height_above_ground(np.where(np.isfinite(top), top, np.nan), metres)
    return Heights(above, metres)


def _find_middle(grid: RasterGrid) -> tuple[float, float]:
    return grid.width_px / 2.0, grid.height_px / 2.0


def _project(grid: RasterGrid, own: RasterGrid) -> tuple[F64, F64]:
    """Where every pixel centre of ``grid`` lies in ``own``, as continuous pixels [h, w].

    Exact on a lattice, bilinear between: over a few hundred metres projections bend by millimetres.
    """
    column, row = np.meshgrid(
        np.linspace(0.0, grid.width_px, _LATTICE), np.linspace(0.0, grid.height_px, _LATTICE)
    )
    across, down = _weigh_lattice(grid.width_px), _weigh_lattice(grid.height_px)
    at_column, at_row = own.pixel(*grid.latlon(column, row))
    return down @ at_column @ across.T, down @ at_row @ across.T


def _weigh_lattice(count: int) -> F64:
    """Weights [count, lattice] of linear interpolation at pixel centres."""
    at = (np.arange(count) + 0.5) / count * (_LATTICE - 1)
    return np.maximum(1.0 - np.abs(at[:, None] - np.arange(_LATTICE)), 0.0)


def _find_box(own: RasterGrid, column: F64, row: F64, margin_px: float) -> Box | None:
    """The part of a raster below some pixels and a margin; None where they do not meet."""
    if not (np.isfinite(column).all() and np.isfinite(row).all()):
        return None
    meets = (column > 0) & (row > 0) & (column < own.width_px) & (row < own.height_px)
    if not meets.any():
        return None
    pad = margin_px + 2.0
    return Box(
        max(0, math.floor(row.min() - pad)), min(own.height_px, math.ceil(row.max() + pad)),
        max(0, math.floor(column.min() - pad)), min(own.width_px, math.ceil(column.max() + pad)),
    )  # fmt: skip


def _subtract_ground(
    values: F32, spacing_m: float, kind: HeightKind, what: str
) -> tuple[F32, HeightKind, tuple[str, ...]]:
    known = values[np.isfinite(values)]
    if known.size == 0:
        raise BadImagery(
            f"{what} holds no heights where the imagery lies, only nodata.\n"
            "Give heights that cover the imagery."
        )
    low, high = _GROUND_BAND_M
    at_ground = float(((known > low) & (known < high)).mean())
    if kind == "above-ground" or (kind == "auto" and at_ground > 0.15):
        check_heights(values, what)
        note = (
            f"{Path(what).name}: taken as metres above the ground "
            f"({at_ground:.0%} of its values are about 0)"
        )
        return np.where(values < 0.0, np.float32(0.0), values), "above-ground", (note,)
    above = compute_height_above_ground(values, spacing_m)
    note = (
        f"{Path(what).name}: taken as elevations ({np.percentile(known, 5.0):.0f} to "
        f"{np.percentile(known, 95.0):.0f} m); the ground was subtracted"
    )
    return above, "surface", (note,)


def _say_how_far(path: Path, grid: RasterGrid, own: RasterGrid) -> str:
    middles = [one.latlon(*_find_middle(one)) for one in (grid, own)]
    here, there = (LatLon(float(lat), float(lon)) for lat, lon in middles)
    return (
        f"{path} does not cover the imagery: its middle lies "
        f"{measure_distance_m(here, there) / 1000.0:,.1f} km away, at {there.lat:.5f}, "
        f"{there.lon:.5f}.\nGive heights of the same place, or the right reference system "
        "with --crs."
    )
