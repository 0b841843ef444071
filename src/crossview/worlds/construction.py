"""Building a town: streets, use of the land, buildings, road markings and trees, in this order."""

from __future__ import annotations

import numpy as np

from crossview.errors import require
from crossview.worlds.buildings import raise_buildings
from crossview.worlds.raster import CELL_M, Generator, compute_slopes, draw_smooth_noise
from crossview.worlds.scenery import plant_trees
from crossview.worlds.streets import Streets, lay_streets
from crossview.worlds.styles import Style, find_style
from crossview.worlds.town import (
    APRON_M,
    BLOCK_TABLE,
    BUILT,
    GroundCover,
    Objects,
    Town,
    draw_open_land,
    seed_generator,
)


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
