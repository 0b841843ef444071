"""Cars: parked along kerbs and in bays, others at the survey flight than at the drive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, U8
from crossview.worlds.raster import CELL_M, Generator, Rectangle, patch, slopes
from crossview.worlds.styles import style
from crossview.worlds.town import Ground, Town

CAR_RGB = (
    (232, 232, 232), (40, 40, 44), (150, 152, 156), (190, 192, 196), (150, 34, 32), (36, 60, 112),
    (60, 84, 66), (196, 178, 146),
)  # fmt: skip


@dataclass(frozen=True)
class Cars:
    """Fields over the cells [n, n]: height (0 where no car) and colour number."""

    height_m: F32
    colour: U8


def park_cars(town: Town, rng: Generator) -> Cars:
    """Park ``cars_per_ha`` cars where there is room; each call is another day."""
    cars = Cars(np.zeros(town.height_m.shape, np.float32), np.zeros(town.height_m.shape, np.uint8))
    kerb = town.streets.kerb_m
    lane = (kerb > -1.5) & (kerb < -0.9) & (town.streets.half_m > 3.6)
    bay = (town.ground == Ground.PARKING) & (np.mod(kerb, 15.0) < 4.0) & (kerb > 3.0)
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    wanted = int(hectares * style(town.style_name).cars_per_ha)
    down, across = slopes(kerb)
    for where, count, turned in ((lane, wanted, 0.0), (bay, wanted // 3, math.pi / 2.0)):
        rows, columns = np.nonzero(where)
        picks = rng.integers(0, max(len(rows), 1), count if len(rows) else 0)
        for row, column in zip(rows[picks], columns[picks], strict=True):
            angle = math.atan2(-float(across[row, column]), float(down[row, column])) + turned
            _park(town, cars, rng, (int(row), int(column)), angle)
    return cars


def _park(town: Town, cars: Cars, rng: Generator, cell: tuple[int, int], angle: float) -> None:
    at_e, at_s = (cell[1] + 0.5) * CELL_M, (cell[0] + 0.5) * CELL_M
    body = patch(Rectangle(at_e, at_s, rng.uniform(1.9, 2.5), 0.9, angle), town.cells, 0.2)
    if body is None or not body.inside.any():
        return
    rows, columns, inside = body.rows, body.columns, body.inside
    if (cars.height_m[rows, columns][inside] > 0).any():
        return
    if (town.height_m[rows, columns][inside] > 0).any():
        return
    cabin = np.abs(body.along_m) < 1.2
    cars.height_m[rows, columns][inside] = np.where(cabin, 1.5, 1.0)[inside]
    cars.colour[rows, columns][inside] = int(rng.integers(len(CAR_RGB)))
