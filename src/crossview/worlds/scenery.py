"""Scenery between the buildings: trees, which belong to the town, and cars, which come and go.

Trees are crowns on trunks, along streets, in yards and in parks. Cars are parked along kerbs and
in bays; they are drawn anew for the survey flight and for each day of the drives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, U8, Bool
from crossview.worlds.raster import CELL_M, Generator, Rectangle, compute_slopes, rasterize
from crossview.worlds.styles import Colour, Style, find_style
from crossview.worlds.town import GroundCover, ObjectKind, Scene, Town

TRUNK_RGB: Colour = (84, 66, 50)
CAR_RGB = (
    (232, 232, 232), (40, 40, 44), (150, 152, 156), (190, 192, 196), (150, 34, 32), (36, 60, 112),
    (60, 84, 66), (196, 178, 146),
)  # fmt: skip


def plant_trees(town: Town, style: Style, rng: Generator) -> None:
    """Plant street trees on the pavement, others on grass and in yards; parks hold the most."""
    box = (0.0, 0.0, 1.0, 1.0, 0.0)  # one row stands for all trunks
    trunk = town.objects.add(ObjectKind.TRUNK, box, 3.0, top=TRUNK_RGB, side=TRUNK_RGB, look=0)
    bare = town.object_row == 0
    kerb = town.streets.kerb_m
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    lawn = bare & (town.ground == GroundCover.GRASS) & (kerb > 3.5)
    court = bare & (town.ground == GroundCover.YARD) & (kerb > 4.0)
    verge = bare & (kerb > 0.7) & (kerb < 1.5)
    _scatter(town, verge, int(hectares * style.street_trees_per_ha), (1.6, 3.0), rng, trunk)
    _scatter(town, lawn, int(hectares * style.trees_per_ha), (1.8, 4.6), rng, trunk)
    _scatter(town, court, int(hectares * style.trees_per_ha * 0.15), (1.5, 3.2), rng, trunk)


def _scatter(
    town: Town,
    where: Bool,
    count: int,
    radius_m: tuple[float, float],
    rng: Generator,
    trunk: int,
) -> None:
    rows, columns = np.nonzero(where)
    if len(rows) == 0:
        return
    for pick in rng.integers(0, len(rows), count):
        _plant(town, int(rows[pick]), int(columns[pick]), rng.uniform(*radius_m), rng, trunk)


def _plant(town: Town, row: int, column: int, radius_m: float, rng: Generator, trunk: int) -> None:
    """One tree: a dome on a trunk. Near buildings the dome ends where the wall begins."""
    reach = math.ceil(radius_m / CELL_M) + 1
    tint, top = int(rng.integers(1, 256)), rng.uniform(1.7, 2.6) * radius_m + 2.4
    base = min(rng.uniform(2.3, 3.2), 0.6 * top)
    if min(row, column) < reach or max(row, column) >= town.cells - reach:
        return
    rows, columns = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
    offsets = np.arange(-reach, reach + 1, dtype=np.float32) * CELL_M
    ragged = rng.uniform(0.8, 1.15, (2 * reach + 1, 2 * reach + 1)).astype(np.float32)
    far = np.hypot(offsets[:, None], offsets[None, :]) / (radius_m * ragged)
    dome = base + (top - base) * np.sqrt(np.maximum(1.0 - far**2, 0.0)).astype(np.float32)
    grows = (far < 1.0) & (town.object_row[rows, columns] == 0)
    grows &= dome > town.crown_top_m[rows, columns]
    town.crown_top_m[rows, columns][grows] = dome[grows]
    town.crown_base_m[rows, columns][grows] = base
    town.crown_tint[rows, columns][grows] = tint
    town.object_row[row, column] = trunk
    town.height_m[row, column] = base


@dataclass(frozen=True)
class Cars:
    """Fields over the cells [n, n]: height (0 where there is no car) and row of ``CAR_RGB``."""

    height_m: F32
    colour: U8


def park_cars(town: Town, rng: Generator) -> Cars:
    """Park ``cars_per_ha`` cars where there is room; each call is another day."""
    cars = Cars(np.zeros(town.height_m.shape, np.float32), np.zeros(town.height_m.shape, np.uint8))
    kerb = town.streets.kerb_m
    lane = (kerb > -1.5) & (kerb < -0.9) & (town.streets.half_m > 3.6)
    bay = (town.ground == GroundCover.PARKING) & (np.mod(kerb, 15.0) < 4.0) & (kerb > 3.0)
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    count = int(hectares * find_style(town.style_name).cars_per_ha)
    slopes = compute_slopes(kerb)
    fill_with_cars(town, cars, lane, count, slopes, 0.0, rng)
    fill_with_cars(town, cars, bay, count // 3, slopes, math.pi / 2.0, rng)
    return cars


def fill_with_cars(  # noqa: PLR0913, PLR0917 - where, how many, which way
    scene: Scene,
    cars: Cars,
    where: Bool,
    attempts: int,
    slopes: tuple[F32, F32],
    turn: float,
    rng: Generator,
) -> None:
    """Park cars on cells of ``where``, each where there is room for it; updates ``cars``.

    They stand along the lines of equal height of a field with ``slopes``, turned by ``turn``.
    """
    down, across = slopes
    rows, columns = np.nonzero(where)
    picks = rng.integers(0, max(len(rows), 1), attempts if len(rows) else 0)
    for row, column in zip(rows[picks], columns[picks], strict=True):
        angle = math.atan2(-float(across[row, column]), float(down[row, column])) + turn
        _park(scene, cars, rng, (int(row), int(column)), angle)


def _park(scene: Scene, cars: Cars, rng: Generator, cell: tuple[int, int], angle: float) -> None:
    at_e, at_s = (cell[1] + 0.5) * CELL_M, (cell[0] + 0.5) * CELL_M
    shape = Rectangle(at_e, at_s, rng.uniform(1.9, 2.5), 0.9, angle)
    body = rasterize(shape, min(scene.height_m.shape), 0.2)
    if body is None or not body.inside.any():
        return
    rows, columns, inside = body.rows, body.columns, body.inside
    if (cars.height_m[rows, columns][inside] > 0).any():
        return
    if (scene.height_m[rows, columns][inside] > 0).any():
        return
    cabin = np.abs(body.along_m) < 1.2
    cars.height_m[rows, columns][inside] = np.where(cabin, 1.5, 1.0)[inside]
    cars.colour[rows, columns][inside] = int(rng.integers(len(CAR_RGB)))
