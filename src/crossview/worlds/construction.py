"""Building a town: streets, use of the land, buildings, road markings and trees, in this order.

Buildings are rectangles set along the streets, with roofs.
"""

from __future__ import annotations

import math

import numpy as np

from crossview.arrays import F32, I64, Bool
from crossview.errors import require
from crossview.worlds import raster
from crossview.worlds.raster import CELL_M, Generator, compute_slopes, draw_smooth_noise
from crossview.worlds.scenery import plant_trees
from crossview.worlds.streets import Streets, lay_streets
from crossview.worlds.styles import Colour, Style, find_style
from crossview.worlds.town import (
    APRON_M,
    BLOCK_TABLE,
    BUILT,
    GroundCover,
    ObjectKind,
    Objects,
    Town,
    draw_open_land,
    seed_generator,
)

STOREY_M = 3.1


def raise_buildings(town: Town, style: Style, rng: raster.Generator) -> None:
    """Try ``attempts_per_ha`` places; each building stands where its ground is still free."""
    fill_with_buildings(town, style, rng, find_building_land(town, style))


def find_building_land(town: Town, style: Style) -> Bool:
    """Cells that may be built on: inside of blocks that are not open, behind the kerb."""
    free = town.streets.kerb_m > 0.4
    use = draw_open_land(town, style)[town.streets.block % BLOCK_TABLE]
    free &= use == BUILT
    return free


def fill_with_buildings(
    town: Town, style: Style, rng: raster.Generator, free: Bool, most: int | None = None
) -> None:
    """Raise buildings where ``free``, which is updated, allows it, at ``most`` that many."""
    down, across = raster.compute_slopes(town.streets.kerb_m)
    starts = _draw_candidates(town, style, free, rng)
    raised = 0
    for n, (row, column) in enumerate(starts):
        if raised == most:
            break
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
            raised += 1


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


def build_town(style_name: str, seed: int, side_m: float = 800.0) -> Town:
    """Build the town of ``seed`` in a style; the mapped square has sides of ``side_m`` metres.

    The same arguments give the same town on every machine with the same NumPy random streams.
    """
    require(160.0 <= side_m <= 3000.0, f"side must lie in [160, 3000] m, got {side_m}.")
    require(seed >= 0, f"a seed must be a whole number >= 0, got {seed}.")
    style = find_style(style_name)
    cells = round((side_m + 2 * APRON_M) / CELL_M)
    streets = lay_streets(style, cells, seed_generator(style_name, seed, "streets"))
    town = _lay_bare_ground(style_name, seed, side_m, streets)
    _assign_land(town, style, town.seed_generator("land"))
    raise_buildings(town, style, town.seed_generator("buildings"))
    _mark_roads(town)
    plant_trees(town, style, town.seed_generator("trees"))
    return town


def _lay_bare_ground(style_name: str, seed: int, side_m: float, streets: Streets) -> Town:
    """A town of streets on unused ground."""
    shape = streets.kerb_m.shape
    rng = seed_generator(style_name, seed, "grain")
    fine = rng.normal(0.0, 0.06, shape).astype(np.float32)
    grain = 1.0 + fine + 0.12 * draw_smooth_noise(shape[0], 7.0, rng)
    return Town(
        style_name=style_name,
        seed=seed,
        side_m=side_m,
        streets=streets,
        ground=np.zeros(shape, np.uint8),
        grain=np.ascontiguousarray(grain + 0.1 * draw_smooth_noise(shape[0], 45.0, rng)),
        height_m=np.zeros(shape, np.float32),
        object_row=np.zeros(shape, np.int32),
        crown_top_m=np.zeros(shape, np.float32),
        crown_base_m=np.zeros(shape, np.float32),
        crown_tint=np.zeros(shape, np.uint8),
        objects=Objects.empty(),
    )


def _assign_land(town: Town, style: Style, rng: Generator) -> None:
    """Lay pavement along streets; yards, lawns, parks, water and squares inside the blocks."""
    kerb, block = town.streets.kerb_m, town.streets.block
    use = draw_open_land(town, style)[block % BLOCK_TABLE]
    green = (rng.random(BLOCK_TABLE) < style.green_yard_share)[(block * 31) % BLOCK_TABLE]
    yard = np.where(green, GroundCover.GRASS, GroundCover.YARD)
    ground = np.where(use == BUILT, yard, use)
    path = np.abs(draw_smooth_noise(town.cells, 38.0, rng)) < 0.055
    ground = np.where(path & (use == GroundCover.GRASS), GroundCover.GRAVEL, ground)
    court = (use == GroundCover.SPORT) & (kerb < 9.0)
    ground = np.where(court, GroundCover.GRASS, ground)
    ground = np.where(kerb < rng.uniform(1.8, 3.2), GroundCover.PAVEMENT, ground)
    town.ground[:] = np.where(kerb < 0.0, GroundCover.ASPHALT, ground)


def _mark_roads(town: Town) -> None:
    """Paint middle lines and parking lanes on wide streets, and bays on car parks."""
    kerb, half, ground = town.streets.kerb_m, town.streets.half_m, town.ground
    down, across = compute_slopes(kerb)
    line = (np.arange(town.cells, dtype=np.float32) + 0.5) * CELL_M
    along = line[None, :] * np.round(-down, 1) + line[:, None] * np.round(across, 1)
    middle = kerb + half  # distance from the street's middle line
    straight = np.hypot(down, across) > 0.8
    dash = (np.abs(middle) < 0.25) & (np.mod(along, 6.0) < 3.0) & (half > 4.2) & straight
    edge = (np.abs(kerb + 2.3) < 0.16) & (np.mod(along, 5.4) < 4.2) & (half > 6.0) & straight
    bays = (
        (ground == GroundCover.PARKING) & (np.mod(along, 2.6) < 0.35) & (np.mod(kerb, 15.0) < 5.0)
    )
    ground[(ground == GroundCover.ASPHALT) & (dash | edge)] = GroundCover.MARKING
    ground[bays] = GroundCover.MARKING
