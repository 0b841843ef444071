"""Rays: the surface that each direction of a strip meets in the height field.

A strip is a set of azimuths (columns) and tangents of elevation (rows). Along each azimuth the
town is sampled at growing distances; the running maximum of the tangent is sorted, so one search
finds for every row the first sample that rises to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, I64, Bool
from crossview.worlds.raster import CELL_M
from crossview.worlds.town import Scene

NEAREST_M, FARTHEST_M, SAMPLES = 0.9, 230.0, 220
EYE_M = 2.3  # of a camera, where nothing else is said

DISTANCES_M = np.geomspace(NEAREST_M, FARTHEST_M, SAMPLES).astype(np.float32)


@dataclass(frozen=True)
class Fan:
    """The scene along the azimuths of a strip: cells [A, K] in flat order, and solid heights.

    ``at``: east and south of the camera, ``eye_m``: its height.
    """

    at: tuple[float, float]
    eye_m: float
    cell: I64
    solid_m: F32


@dataclass(frozen=True)
class Hits:
    """What each pixel [A, R] of a strip sees. ``sample`` K means the sky.

    ``distance_m``: horizontal; ``up_m``: height above the street where the ray ends; ``cell``: flat
    cell number; ``wall``: on the side of something rather than on top of it.
    """

    sample: I64
    distance_m: F32
    up_m: F32
    cell: I64
    wall: Bool


def sample_fan(
    scene: Scene, solid_m: F32, at: tuple[float, float], azimuth: F32, eye_m: float = EYE_M
) -> Fan:
    """Sample ``solid_m`` around ``at`` (east, south in m) along azimuths [A] in radians."""
    east = at[0] + np.sin(azimuth)[:, None] * DISTANCES_M
    south = at[1] - np.cos(azimuth)[:, None] * DISTANCES_M
    cell = _number_cells(scene, east, south)
    return Fan(at, eye_m, cell, solid_m.ravel()[cell])


def _number_cells(scene: Scene, east: F32, south: F32) -> I64:
    rows, columns = scene.height_m.shape
    if scene.endless:
        row, column = _mirror(south, rows), _mirror(east, columns)
    else:
        column = np.clip((east / CELL_M).astype(np.int64), 0, columns - 1)
        row = np.clip((south / CELL_M).astype(np.int64), 0, rows - 1)
    cell: I64 = row * columns + column
    return cell


def _mirror(metres: F32, cells: int) -> I64:
    """Cell numbers along one side; beyond its ends the cells come back in reverse order."""
    number = np.floor(metres / CELL_M).astype(np.int64) % (2 * cells)
    mirrored: I64 = np.minimum(number, 2 * cells - 1 - number)
    return mirrored


def cast_rays(scene: Scene, fan: Fan, azimuth: F32, tangent: F32) -> Hits:
    """Find the first surface for azimuths [A] and elevation tangents [R] (any order)."""
    count = len(azimuth)
    rise = (fan.solid_m - fan.eye_m) / DISTANCES_M
    skyline = np.maximum.accumulate(rise, axis=1)
    lift = np.float64(400.0) * np.arange(count)[:, None]  # keeps the columns apart in one search
    where = np.searchsorted((skyline + lift).ravel(), (tangent[None, :] + lift).ravel())
    sample = where.reshape(count, len(tangent)) - SAMPLES * np.arange(count)[:, None]
    last = np.minimum(sample, SAMPLES - 1)
    before = np.maximum(last - 1, 0)
    line = np.arange(count)[:, None]
    up = fan.eye_m + DISTANCES_M[last] * tangent
    low, high = fan.solid_m[line, before], fan.solid_m[line, last]
    wall = (high - low > 0.9) & (sample < SAMPLES)
    flat = (high < 0.2) & (tangent < -1e-4) & (sample < SAMPLES)
    exact = np.where(flat, fan.eye_m / np.maximum(-tangent, 1e-4), DISTANCES_M[last])
    distance = np.minimum(exact, FARTHEST_M).astype(np.float32)
    east = fan.at[0] + np.sin(azimuth)[:, None] * distance + _draw_dither(distance.shape, 0)
    south = fan.at[1] - np.cos(azimuth)[:, None] * distance + _draw_dither(distance.shape, 1)
    cell = np.where(flat, _number_cells(scene, east, south), fan.cell[line, last])
    return Hits(sample, distance, np.where(flat, 0.0, up).astype(np.float32), cell, wall)


def _draw_dither(shape: tuple[int, ...], axis: int) -> F32:
    """Half a cell of fixed noise, so that cells do not show as tiles near the camera."""
    noise = np.random.Generator(np.random.PCG64(axis)).uniform(-0.5, 0.5, 8191).astype(np.float32)
    at = np.arange(shape[0])[:, None] * 977 + np.arange(shape[1])[None, :] * 31
    dither: F32 = noise[at % 8191] * np.float32(CELL_M)
    return dither


@dataclass(frozen=True)
class Crowns:
    """Tree crowns along the azimuths, one row per run of samples under one crown edge to edge."""

    column: I64
    distance_m: F32
    low: F32  # tangents of elevation
    high: F32
    cell: I64


def collect_crowns(scene: Scene, fan: Fan) -> Crowns:
    """Collapse each run of crown samples along a ray into one upright panel, far ones first."""
    tops, bases = scene.crown_top_m.ravel()[fan.cell], scene.crown_base_m.ravel()[fan.cell]
    leafy = tops > 0
    leafy[:, DISTANCES_M > 140.0] = False
    leafy[:, DISTANCES_M < 1.5] = False
    starts = leafy & ~np.pad(leafy, ((0, 0), (1, 0)))[:, :-1]
    number = np.cumsum(starts.ravel()).reshape(leafy.shape) - 1
    count = int(starts.sum())
    run = number[leafy]
    far = np.broadcast_to(DISTANCES_M, leafy.shape)[leafy]
    high = np.full(count, -9.0, np.float32)
    low = np.full(count, 9.0, np.float32)
    np.maximum.at(high, run, (tops[leafy] - fan.eye_m) / far)
    np.minimum.at(low, run, (bases[leafy] - fan.eye_m) / far)
    column, first = np.nonzero(starts)
    order = np.argsort(-first, kind="stable")
    return Crowns(
        column[order],
        DISTANCES_M[first][order],
        low[order],
        high[order],
        fan.cell[column, first][order],
    )
