"""Streets: for every cell, the distance to the kerb, and the number of its block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, I32, Bool
from crossview.worlds.raster import CELL_M, Generator, compute_cell_centres, draw_smooth_noise
from crossview.worlds.styles import Style


@dataclass(frozen=True)
class Streets:
    """Fields over the cells [n, n].

    ``kerb_m``: distance to the kerb, negative on the street; ``half_m``: half width of the nearest
    street, so that kerb_m = -half_m on its middle line; ``block``: number of the block.
    """

    kerb_m: F32
    half_m: F32
    block: I32


def lay_streets(style: Style, cells: int, rng: Generator) -> Streets:
    """Draw the street pattern of a town of ``cells`` x ``cells``."""
    east, south = compute_cell_centres(cells)
    if style.bend_m > 0:
        wavelength_m = rng.uniform(130.0, 260.0)
        east = east + style.bend_m * draw_smooth_noise(cells, wavelength_m, rng)
        south = south + style.bend_m * draw_smooth_noise(cells, wavelength_m, rng)
    return (_lay_grid if style.streets == "grid" else _lay_voronoi_cells)(style, east, south, rng)


def _lay_grid(style: Style, east: F32, south: F32, rng: Generator) -> Streets:
    """Two families of lines at uneven distances, turned by the town's own angle."""
    angle = rng.uniform(0.0, math.pi / 2.0)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    side_m = east.shape[0] * CELL_M
    lines_u, half_u = _draw_lines(style, side_m, rng)
    lines_v, half_v = _draw_lines(style, side_m, rng)
    u, v = east * c + south * s, south * c - east * s
    near_u, off_u, block_u = _find_nearest_line(u, lines_u)
    near_v, off_v, block_v = _find_nearest_line(v, lines_v)
    open_u = rng.random((len(lines_u), len(lines_v) + 1)) >= style.merge_share
    kerb_u = np.where(open_u[near_u, block_v], off_u - half_u[near_u], np.float32(1e3))
    kerb_v = off_v - half_v[near_v]
    first = kerb_u < kerb_v
    return Streets(
        kerb_m=np.where(first, kerb_u, kerb_v),
        half_m=np.where(first, half_u[near_u], half_v[near_v]),
        block=(_join_blocks(open_u)[block_u, block_v] * np.int32(1000) + block_v).astype(np.int32),
    )


def _draw_lines(style: Style, side_m: float, rng: Generator) -> tuple[F32, F32]:
    """Positions of parallel streets across twice the town's diagonal, and their half widths."""
    reach_m = 1.6 * side_m
    gaps = rng.uniform(*style.block_m, size=int(2 * reach_m / style.block_m[0]) + 2)
    at = -reach_m + np.cumsum(gaps)
    at = at[at < reach_m]
    half = rng.uniform(*style.street_half_m, size=len(at))
    half = np.where(rng.random(len(at)) < style.avenue_share, 1.5 * half, half)
    return at.astype(np.float32), half.astype(np.float32)


def _find_nearest_line(u: F32, lines: F32) -> tuple[I32, F32, I32]:
    """Nearest line, distance to it, and the number of the gap between lines that u lies in."""
    gap = np.searchsorted(lines, u).astype(np.int32)
    low, high = np.maximum(gap - 1, 0), np.minimum(gap, len(lines) - 1)
    off_low, off_high = np.abs(u - lines[low]), np.abs(u - lines[high])
    near: I32 = np.where(off_low <= off_high, low, high).astype(np.int32)
    return near, np.minimum(off_low, off_high), gap


def _join_blocks(open_u: Bool) -> I32:
    """Block column numbers; blocks on both sides of a street piece that is left out are one."""
    lines, gaps = open_u.shape
    number = np.tile(np.arange(lines + 1, dtype=np.int32)[:, None], (1, gaps))
    for line in range(lines):
        number[line + 1] = np.where(open_u[line], number[line + 1], number[line])
    return number


def _lay_voronoi_cells(style: Style, east: F32, south: F32, rng: Generator) -> Streets:
    """Streets along the borders of Voronoi cells around jittered seeds."""
    pitch = float(rng.uniform(*style.block_m))
    count = math.ceil(east.shape[0] * CELL_M / pitch) + 8
    seeds = (np.indices((count, count)).transpose(1, 2, 0) - 3.5).astype(np.float32)
    seeds = (seeds + rng.uniform(-0.36, 0.36, seeds.shape).astype(np.float32)) * np.float32(pitch)
    home_r = np.floor(south / pitch).astype(np.int32) + 4
    home_c = np.floor(east / pitch).astype(np.int32) + 4
    best, second = np.full(east.shape, 1e9, np.float32), np.full(east.shape, 1e9, np.float32)
    first_id = np.zeros(east.shape, np.int32)
    second_id = np.zeros(east.shape, np.int32)
    for d_row in (-1, 0, 1):
        for d_column in (-1, 0, 1):
            r = np.clip(home_r + d_row, 0, count - 1)
            c = np.clip(home_c + d_column, 0, count - 1)
            number = r * np.int32(count) + c
            far = (south - seeds[r, c, 0]) ** 2 + (east - seeds[r, c, 1]) ** 2
            closer, between = far < best, (far >= best) & (far < second)
            second = np.where(closer, best, np.where(between, far, second))
            second_id = np.where(closer, first_id, np.where(between, number, second_id))
            best, first_id = np.where(closer, far, best), np.where(closer, number, first_id)
    flat = seeds.reshape(-1, 2)
    apart = np.linalg.norm(flat[first_id] - flat[second_id], axis=-1)
    half = _draw_half_widths(style, first_id, second_id, rng)
    kerb = (second - best) / np.maximum(2.0 * apart, 1e-3) - half
    return Streets(kerb.astype(np.float32), half, first_id)


def _draw_half_widths(style: Style, a: I32, b: I32, rng: Generator) -> F32:
    """A half width for each pair of neighbouring blocks, the same seen from either block."""
    table = rng.uniform(*style.street_half_m, size=4093)
    table = np.where(rng.random(4093) < style.avenue_share, 1.5 * table, table)
    low, high = np.minimum(a, b).astype(np.int64), np.maximum(a, b).astype(np.int64)
    width: F32 = table[(low * 7919 + high * 104729) % 4093].astype(np.float32)
    return width
