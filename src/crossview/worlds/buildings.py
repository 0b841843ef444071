"""Buildings: rectangles set along the streets, with roofs."""

from __future__ import annotations

import math

import numpy as np

from crossview.arrays import F32, I64, Bool
from crossview.worlds import raster
from crossview.worlds.styles import Colour, Style
from crossview.worlds.town import BLOCK_TABLE, BUILT, GroundCover, ObjectKind, Town, draw_open_land

STOREY_M = 3.1


def raise_buildings(town: Town, style: Style, rng: raster.Generator) -> None:
    """Try ``attempts_per_ha`` places; each building stands where its ground is still free."""
    free = town.streets.kerb_m > 0.4
    use = draw_open_land(town, style)[town.streets.block % BLOCK_TABLE]
    free &= use == BUILT
    down, across = raster.compute_slopes(town.streets.kerb_m)
    starts = _draw_candidates(town, style, free, rng)
    for n, (row, column) in enumerate(starts):
        if not free[row, column]:
            continue
        shape = _place(town, style, rng, (int(row), int(column)), (down, across), n / len(starts))
        if shape is None:
            continue
        area = raster.rasterize(shape, town.cells, style.gap_m)
        if area is None or not free[area.rows, area.columns][area.inside].all():
            continue
        own = raster.rasterize(shape, town.cells)
        if own is not None and own.inside.any():
            _raise_building(town, style, rng, shape, own)
            free[own.rows, own.columns][own.inside] = False


def _draw_candidates(town: Town, style: Style, free: Bool, rng: raster.Generator) -> I64:
    """Cells [n, 2] to try, most of them near a street, in random order."""
    hectares = (town.cells * raster.CELL_M) ** 2 / 1e4
    attempts = int(hectares * style.attempts_per_ha)
    near = free & (town.streets.kerb_m < style.setback_m[1] + 6.0)
    rows, columns = np.nonzero(near)
    pick = rng.integers(0, max(len(rows), 1), attempts if len(rows) else 0)
    inner_rows, inner_columns = np.nonzero(free & (town.streets.kerb_m > 18.0))
    inner = rng.integers(0, max(len(inner_rows), 1), attempts // 6 if len(inner_rows) else 0)
    street = np.stack([rows[pick], columns[pick]], axis=1)
    back = np.stack([inner_rows[inner], inner_columns[inner]], axis=1)
    return np.concatenate([street, back])


def _place(
    town: Town,
    style: Style,
    rng: raster.Generator,
    cell: tuple[int, int],
    slope: tuple[F32, F32],
    progress: float,
) -> raster.Rectangle | None:
    """A rectangle that faces the street at its setback; later ones are smaller, to fill gaps."""
    row, column = cell
    normal_e, normal_s = float(slope[1][row, column]), float(slope[0][row, column])
    length = math.hypot(normal_e, normal_s)
    if length < 0.5:
        return None
    shrink = 1.0 if progress < 0.45 else 0.7 if progress < 0.75 else 0.5
    half_w = 0.5 * rng.uniform(*style.width_m) * shrink
    half_d = 0.5 * rng.uniform(*style.depth_m) * math.sqrt(shrink)
    kerb = float(town.streets.kerb_m[row, column])
    inward = 0.0
    if kerb <= style.setback_m[1] + 6.0:
        inward = 2.6 + rng.uniform(*style.setback_m) + half_d - kerb
    return raster.Rectangle(
        (column + 0.5) * raster.CELL_M + inward * normal_e / length,
        (row + 0.5) * raster.CELL_M + inward * normal_s / length,
        half_w,
        half_d,
        math.atan2(-normal_e, normal_s),
    )


def _raise_building(
    town: Town, style: Style, rng: raster.Generator, shape: raster.Rectangle, own: raster.CellPatch
) -> None:
    """Enter a building into the town's layers and objects."""
    eave = STOREY_M * max(1.0, rng.uniform(*style.storeys)) + rng.uniform(0.0, 1.2)
    pitched = rng.random() < style.pitched_share
    roof = (_shape_pitched_roof if pitched else _shape_flat_roof)(shape, own, rng)
    rows, columns = own.rows, own.columns
    town.height_m[rows, columns][own.inside] = (eave + roof)[own.inside]
    town.object_row[rows, columns][own.inside] = town.objects.add(
        ObjectKind.BUILDING,
        (shape.east_m, shape.south_m, shape.half_along_m, shape.half_across_m, shape.angle),
        eave,
        top=_vary_colour(style.roofs, rng),
        side=_vary_colour(style.walls, rng),
        look=int(rng.integers(1 << 30)),
    )
    town.ground[rows, columns][own.inside] = GroundCover.YARD


def _shape_pitched_roof(
    shape: raster.Rectangle, own: raster.CellPatch, rng: raster.Generator
) -> F32:
    """Height above the eave of a gabled or hipped roof, ridge along the longer side."""
    pitch = np.float32(math.tan(math.radians(rng.uniform(24.0, 44.0))))
    hipped = rng.random() < 0.4
    to_side = shape.half_across_m - np.abs(own.across_m)
    to_end = shape.half_along_m - np.abs(own.along_m)
    if shape.half_along_m < shape.half_across_m:
        to_side, to_end = to_end, to_side
    roof: F32 = pitch * np.maximum(np.minimum(to_side, to_end) if hipped else to_side, 0.0)
    return roof


def _shape_flat_roof(shape: raster.Rectangle, own: raster.CellPatch, rng: raster.Generator) -> F32:
    """Height above the eave of a flat roof with a parapet and some plant rooms."""
    roof = np.zeros(own.along_m.shape, np.float32)
    for _ in range(int(rng.integers(0, 4)) if shape.half_across_m > 4 else 0):
        at_u = rng.uniform(-0.7, 0.7) * shape.half_along_m
        at_v = rng.uniform(-0.6, 0.6) * shape.half_across_m
        size = rng.uniform(0.9, 2.6)
        box = (np.abs(own.along_m - at_u) < 1.6 * size) & (np.abs(own.across_m - at_v) < size)
        roof[box] = rng.uniform(1.2, 3.0)
    edge = np.minimum(
        shape.half_along_m - np.abs(own.along_m), shape.half_across_m - np.abs(own.across_m)
    )
    roof[edge < 0.6] = 0.7
    return roof


def _vary_colour(palette: tuple[Colour, ...], rng: raster.Generator) -> Colour:
    """A colour of the palette, a little lighter or darker, warmer or colder."""
    base = np.array(palette[int(rng.integers(len(palette)))], np.float64)
    r, g, b = np.clip(base * rng.uniform(0.82, 1.15) + rng.normal(0.0, 5.0, 3), 12, 245).astype(int)
    return int(r), int(g), int(b)
