"""The town from above: an orthophoto."""

from __future__ import annotations

import math

import numpy as np

from crossview.arrays import F32, U8
from crossview.worlds.light import (
    Light,
    cast_shadows,
    colour_ground,
    develop,
    draw_crown_colours,
    draw_light,
)
from crossview.worlds.raster import compute_slopes
from crossview.worlds.scenery import CAR_RGB, Cars, park_cars
from crossview.worlds.town import Town

SKYLIGHT = np.array([176.0, 186.0, 200.0], np.float32)


def render_orthophoto(town: Town) -> U8:
    """Render the mapped square, grid north up, [n, n, 3] at ``CELL_M`` metres per pixel."""
    rng = town.seed_generator("flight")
    light = draw_light(rng, overcast_share=0.25)
    cars = park_cars(town, rng)
    surface = np.maximum(np.maximum(town.height_m, cars.height_m), town.crown_top_m)
    picture = _colour_surfaces(town, light, cars, draw_crown_colours(light, rng))
    picture *= np.where(cast_shadows(surface, light), np.float32(light.shade), np.float32(1.0))[
        ..., None
    ]
    picture *= _shade_slopes(town.height_m, light)[..., None]
    inner = slice(town.apron_cells, town.apron_cells + town.mapped_cells)
    picture = picture[inner, inner]
    picture += np.float32(0.45 * light.haze) * (SKYLIGHT - picture)
    return develop(picture, light, rng, noise=0.012)


def _colour_surfaces(town: Town, light: Light, cars: Cars, crowns: F32) -> F32:
    """Colour of the uppermost surface before any light, [n, n, 3] in 0..255."""
    picture = colour_ground(light)[town.ground] * town.grain[..., None]
    tops = np.array(town.objects.top, np.float32)
    built = town.object_row > 0
    picture[built] = tops[town.object_row[built]] * (0.6 + 0.4 * town.grain[built])[:, None]
    parked = cars.height_m > 0
    glass = np.where(cars.height_m[parked] > 1.2, 1.0, 0.85)
    picture[parked] = np.array(CAR_RGB, np.float32)[cars.colour[parked]] * glass[:, None]
    leafy = town.crown_top_m > 0
    dome = (town.crown_top_m - town.crown_base_m)[leafy] / 6.0
    bright = (0.72 + 0.4 * np.minimum(dome, 1.0)) * town.grain[leafy] ** 2
    picture[leafy] = crowns[town.crown_tint[leafy]] * bright[:, None]
    return picture.astype(np.float32)


def _shade_slopes(height_m: F32, light: Light) -> F32:
    """Lambert factor of pitched roofs, about 1; exactly 1 on walls and flat ground."""
    down, across = compute_slopes(height_m)
    turn, rise = math.radians(light.sun_azimuth_deg), math.radians(light.sun_elevation_deg)
    towards = -across * math.sin(turn) + down * math.cos(turn)
    pitched = (height_m > 2.0) & (np.hypot(across, down) < 1.3)
    factor = 1.0 + (1.0 - light.shade) * towards * math.cos(rise) / math.sin(rise)
    return np.where(pitched, np.clip(factor, 0.55, 1.4), 1.0).astype(np.float32)
