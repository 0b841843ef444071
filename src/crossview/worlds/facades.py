"""Facades: windows, doors and floors on the walls that rays meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, I8, I32, I64, U8
from crossview.worlds.buildings import STOREY_M
from crossview.worlds.light import Light
from crossview.worlds.town import ObjectKind, Objects

TEXTURE_M = 2.5  # side of a picture of a wall


@dataclass(frozen=True)
class ObjectArrays:
    """The objects of a town as arrays, one row per object."""

    box: F32  # [n, 5]
    eave_m: F32
    top: F32
    side: F32
    look: I64
    kind: I64


def stack_objects(objects: Objects) -> ObjectArrays:
    """Turn the lists of a finished town into arrays."""
    return ObjectArrays(
        np.array(objects.box, np.float32),
        np.array(objects.eave_m, np.float32),
        np.array(objects.top, np.float32),
        np.array(objects.side, np.float32),
        np.array(objects.look, np.int64),
        np.array(objects.kind, np.int64),
    )


def colour_walls(  # noqa: PLR0913, PLR0917 - points on walls, and what colours them
    objects: ObjectArrays,
    row: I32,
    at: tuple[F32, F32],
    up_m: F32,
    light: Light,
    outward: I8 | None = None,
    textures: U8 | None = None,
) -> F32:
    """Colour [n, 3] of wall points of objects ``row``, at (east, south) and height ``up_m``.

    ``outward`` [n, 2]: which way the wall faces (east, south; any length), where an object is not
    the box that stands for it. ``textures`` [t, h, w, 3]: walls that half of the objects take.
    """
    along, facing = _project_on_wall(objects, row, at, outward)
    look = objects.look[row]
    bay = 2.0 + (look % 7) * 0.35
    glass_w, glass_h = 0.3 + (look // 7 % 5) * 0.1, 0.35 + (look // 35 % 4) * 0.1
    column, floor = along / bay, up_m / STOREY_M
    in_bay, in_floor = column - np.floor(column), floor - np.floor(floor)
    window = (np.abs(in_bay - 0.5) < glass_w / 2) & (np.abs(in_floor - 0.55) < glass_h / 2)
    window &= up_m < objects.eave_m[row] - 0.5
    shop = (up_m < STOREY_M) & (look // 140 % 3 == 0)
    window = np.where(shop, (np.abs(in_bay - 0.5) < 0.42) & (in_floor > 0.15), window)
    pane = np.where(
        (np.floor(column).astype(np.int64) * 37 + np.floor(floor).astype(np.int64) * 91 + look) % 11
        < 3,
        0.95,
        0.5,
    )
    band = 1.0 - 0.1 * (in_floor < 0.06) * (look // 420 % 2)
    plain = objects.side[row] * band[:, None]
    if textures is not None:
        plain = _lay_textures(plain, textures, look, along, up_m)
    dark = np.array([92.0, 104.0, 118.0], np.float32) * pane[:, None]
    colour = np.where(window[:, None], dark, plain)
    trunk = objects.kind[row] == ObjectKind.TRUNK
    colour[trunk] = objects.side[row][trunk]
    lit: F32 = (colour * _light_walls(facing, light)[:, None]).astype(np.float32)
    return lit


def _lay_textures(plain: F32, textures: U8, look: I64, along: F32, up_m: F32) -> F32:
    """Walls [n, 3] of half of the looks as a texture of ``TEXTURE_M``, tinted by their colour."""
    count, height, width = textures.shape[:3]
    row = (up_m / TEXTURE_M * height).astype(np.int64) % height
    column = np.floor(along / TEXTURE_M * width).astype(np.int64) % width
    pattern = textures[look // 2 % count, row, column].astype(np.float32)
    taken = (look % 2 == 0)[:, None]
    return np.where(taken, 0.6 * pattern + 0.4 * plain, plain).astype(np.float32)


def _project_on_wall(
    objects: ObjectArrays, row: I32, at: tuple[F32, F32], outward: I8 | None
) -> tuple[F32, F32]:
    """Metres along the wall, and the compass direction (radians) the wall faces."""
    box = objects.box[row]
    east, south = at[0] - box[:, 0], at[1] - box[:, 1]
    c, s = np.cos(box[:, 4]), np.sin(box[:, 4])
    u, v = east * c + south * s, south * c - east * s
    to_end, to_side = u / box[:, 2], v / box[:, 3]
    if outward is not None:
        out = outward.astype(np.float32)
        to_end = np.asarray(out[:, 0] * c + out[:, 1] * s, np.float64)
        to_side = np.asarray(out[:, 1] * c - out[:, 0] * s, np.float64)
    end_wall = np.abs(to_end) > np.abs(to_side)
    out_e = np.where(end_wall, np.sign(to_end) * c, -np.sign(to_side) * s)
    out_s = np.where(end_wall, np.sign(to_end) * s, np.sign(to_side) * c)
    facing: F32 = np.arctan2(out_e, -out_s)
    return np.where(end_wall, v + box[:, 3], u + box[:, 2]), facing


def _light_walls(facing: F32, light: Light) -> F32:
    """Brightness factor of a wall: sunlit, grazing or in its own shade."""
    turn = np.cos(facing - np.radians(light.sun_azimuth_deg))
    lit: F32 = np.where(turn > 0.0, light.shade + (1.05 - light.shade) * turn, light.shade)
    return np.maximum(lit, 0.5 * light.shade + 0.25).astype(np.float32)
