"""Buildings: rectangles set along the streets, with roofs."""

from __future__ import annotations

import math

import numpy as np

from crossview.arrays import F32, I64, Bool
from crossview.worlds.raster import (
    CELL_M,
    CellPatch,
    Generator,
    Rectangle,
    compute_slopes,
    rasterize,
)
from crossview.worlds.styles import Style
from crossview.worlds.town import ObjectKind, Town, draw_open_land

STOREY_M = 3.1


def raise_buildings(town: Town, drawn: Style, rng: Generator) -> None:
    """Try ``attempts_per_ha`` places; each building stands where its ground is still free."""
    free = town.streets.kerb_m > 0.4
    use = draw_open_land(town, drawn)[town.streets.block % 8191]
    free &= use == 255
    down, across = compute_slopes(town.streets.kerb_m)
    starts = _draw_candidates(town, drawn, free, rng)
    for n, (row, column) in enumerate(starts):
        if not free[row, column]:
            continue
        shape = _place(town, drawn, rng, (int(row), int(column)), (down, across), n / len(starts))
        if shape is None:
            continue
        area = rasterize(shape, town.cells, drawn.gap_m)
        if area is None or not free[area.rows, area.columns][area.inside].all():
            continue
        own = rasterize(shape, town.cells)
        if own is not None and own.inside.any():
            _raise_building(town, drawn, rng, shape, own)
            free[own.rows, own.columns][own.inside] = False


def _draw_candidates(town: Town, drawn: Style, free: Bool, rng: Generator) -> I64:
    """Cells [n, 2] to try, most of them near a street, in random order."""
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    wanted = int(hectares * drawn.attempts_per_ha)
    near = free & (town.streets.kerb_m < drawn.setback_m[1] + 6.0)
    rows, columns = np.nonzero(near)
    pick = rng.integers(0, max(len(rows), 1), wanted if len(rows) else 0)
    inner_rows, inner_columns = np.nonzero(free & (town.streets.kerb_m > 18.0))
    inner = rng.integers(0, max(len(inner_rows), 1), wanted // 6 if len(inner_rows) else 0)
    street = np.stack([rows[pick], columns[pick]], axis=1)
    back = np.stack([inner_rows[inner], inner_columns[inner]], axis=1)
    return np.concatenate([street, back])


def _place(
    town: Town,
    drawn: Style,
    rng: Generator,
    cell: tuple[int, int],
    slope: tuple[F32, F32],
    progress: float,
) -> Rectangle | None:
    """A rectangle that faces the street at its setback; later ones are smaller, to fill gaps."""
    row, column = cell
    normal_e, normal_s = float(slope[1][row, column]), float(slope[0][row, column])
    length = math.hypot(normal_e, normal_s)
    if length < 0.5:
        return None
    shrink = 1.0 if progress < 0.45 else 0.7 if progress < 0.75 else 0.5
    half_w = 0.5 * rng.uniform(*drawn.width_m) * shrink
    half_d = 0.5 * rng.uniform(*drawn.depth_m) * math.sqrt(shrink)
    kerb = float(town.streets.kerb_m[row, column])
    inward = 0.0
    if kerb <= drawn.setback_m[1] + 6.0:
        inward = 2.6 + rng.uniform(*drawn.setback_m) + half_d - kerb
    return Rectangle(
        (column + 0.5) * CELL_M + inward * normal_e / length,
        (row + 0.5) * CELL_M + inward * normal_s / length,
        half_w,
        half_d,
        math.atan2(-normal_e, normal_s),
    )


def _raise_building(
    town: Town, drawn: Style, rng: Generator, shape: Rectangle, own: CellPatch
) -> None:
    eave = STOREY_M * max(1.0, rng.uniform(*drawn.storeys)) + rng.uniform(0.0, 1.2)
    pitched = rng.random() < drawn.pitched_share
    roof = (
        _shape_pitched_roof(shape, own, rng)
        if pitched
        else _shape_flat_roof(shape, own, rng, wide=shape.half_across_m)
    )
    rows, columns = own.rows, own.columns
    town.height_m[rows, columns][own.inside] = (eave + roof)[own.inside]
    town.thing[rows, columns][own.inside] = len(town.objects.kind)
    town.ground[rows, columns][own.inside] = 3
    _register(
        town, shape, eave, _vary_colour(drawn.roofs, rng), _vary_colour(drawn.walls, rng), rng
    )


def _register(
    town: Town,
    shape: Rectangle,
    eave: float,
    top: tuple[int, int, int],
    side: tuple[int, int, int],
    rng: Generator,
) -> None:
    things = town.objects
    things.kind.append(ObjectKind.BUILDING)
    things.box.append(
        (shape.east_m, shape.south_m, shape.half_along_m, shape.half_across_m, shape.angle)
    )
    things.eave_m.append(eave)
    things.top.append(top)
    things.side.append(side)
    things.look.append(int(rng.integers(1 << 30)))


def _shape_pitched_roof(shape: Rectangle, own: CellPatch, rng: Generator) -> F32:
    """Height above the eave of a gabled or hipped roof, ridge along the longer side."""
    pitch = np.float32(math.tan(math.radians(rng.uniform(24.0, 44.0))))
    hipped = rng.random() < 0.4
    to_side = shape.half_across_m - np.abs(own.across_m)
    to_end = shape.half_along_m - np.abs(own.along_m)
    if shape.half_along_m < shape.half_across_m:
        to_side, to_end = to_end, to_side
    roof: F32 = pitch * np.maximum(np.minimum(to_side, to_end) if hipped else to_side, 0.0)
    return roof


def _shape_flat_roof(shape: Rectangle, own: CellPatch, rng: Generator, wide: float) -> F32:
    """A flat roof with a parapet and some plant rooms."""
    roof = np.zeros(own.along_m.shape, np.float32)
    for _ in range(int(rng.integers(0, 4)) if wide > 4 else 0):
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


def _vary_colour(palette: tuple[tuple[int, int, int], ...], rng: Generator) -> tuple[int, int, int]:
    """A colour of the palette, a little lighter or darker, warmer or colder."""
    base = np.array(palette[int(rng.integers(len(palette)))], np.float64)
    r, g, b = np.clip(base * rng.uniform(0.82, 1.15) + rng.normal(0.0, 5.0, 3), 12, 245).astype(int)
    return int(r), int(g), int(b)
