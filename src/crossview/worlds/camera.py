"""Pictures of a scene: from its streets as panoramas and photos, and from above as an orthophoto.

A strip of equal angles is rendered first; cameras sample their pictures from it. It is a set of
azimuths (columns) and tangents of elevation (rows). Along each azimuth the town is sampled at
growing distances; the running maximum of the tangent is sorted, so one search finds for every row
the first sample that rises to it. Walls that rays meet get windows, doors and floors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64, I8, I32, I64, U8, Bool
from crossview.errors import require
from crossview.worlds.town import (
    CAR_RGB,
    CELL_M,
    STOREY_M,
    Cars,
    Generator,
    GroundCover,
    ObjectKind,
    Objects,
    Scene,
    Town,
    compute_slopes,
    park_cars,
)

# Light: a season, a sun, a camera. The two views never share one.

SEASONS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    # grass, crowns
    "summer": ((96, 124, 62), (62, 92, 44)),
    "spring": ((116, 150, 72), (110, 140, 66)),
    "autumn": ((128, 120, 70), (164, 112, 46)),
    "dry": ((160, 146, 98), (96, 104, 66)),
    "winter": ((136, 132, 104), (110, 98, 82)),
}

GROUND_RGB: dict[GroundCover, tuple[int, int, int]] = {
    GroundCover.ASPHALT: (104, 104, 106),
    GroundCover.PAVEMENT: (158, 154, 148),
    GroundCover.YARD: (142, 134, 124),
    GroundCover.WATER: (54, 78, 92),
    GroundCover.SPORT: (150, 92, 70),
    GroundCover.MARKING: (226, 226, 220),
    GroundCover.PARKING: (120, 118, 116),
    GroundCover.GRAVEL: (176, 164, 140),
    GroundCover.PLAZA: (188, 176, 160),
}


@dataclass(frozen=True)
class Light:
    """The conditions of one survey flight or one drive."""

    season: str
    sun_azimuth_deg: float  # in the grid frame
    sun_elevation_deg: float
    shade: float  # brightness in shadow, 0..1
    gain: tuple[float, float, float]
    gamma: float
    haze: float  # 0..1 at 150 m (ground), overall (aerial)
    drift: dict[GroundCover, float]  # brightness of each ground cover relative to its usual one


def draw_light(rng: Generator, *, overcast_share: float) -> Light:
    """Draw season, sun, camera response and haze independently."""
    tint = rng.normal(0.0, 0.06, 3)
    return Light(
        season=str(rng.choice(list(SEASONS))),
        sun_azimuth_deg=float(rng.uniform(0.0, 360.0)),
        sun_elevation_deg=float(rng.uniform(28.0, 62.0)),
        shade=float(rng.uniform(0.8, 1.0) if rng.random() < overcast_share
                    else rng.uniform(0.42, 0.68)),
        gain=tuple(float(g) for g in np.exp(tint + rng.normal(-0.06, 0.12))),  # type: ignore[arg-type]
        gamma=float(np.exp(rng.normal(0.0, 0.12))),
        haze=float(rng.uniform(0.02, 0.35)),
        drift={cover: float(np.exp(rng.normal(0.0, 0.14))) for cover in GroundCover},
    )  # fmt: skip


def colour_ground(light: Light) -> F32:
    """RGB of every ground cover under this light's season and wear, [len(Ground), 3]."""
    table = np.zeros((len(GroundCover), 3), np.float32)
    for cover in GroundCover:
        rgb = SEASONS[light.season][0] if cover == GroundCover.GRASS else GROUND_RGB[cover]
        table[cover] = np.array(rgb, np.float32) * light.drift[cover]
    return table


def draw_crown_colours(light: Light, rng: Generator) -> F32:
    """RGB of the 256 crown tints, [256, 3]; the same tint differs between two lights."""
    base = np.array(SEASONS[light.season][1], np.float32)
    spread = rng.normal(1.0, 0.14, (256, 1)) + rng.normal(0.0, 0.07, (256, 3))
    return (base * spread).astype(np.float32)


def cast_shadows(height_m: F32, light: Light) -> Bool:
    """Cells [rows, columns] that the sun does not reach, by marching towards it over heights."""
    slope = math.tan(math.radians(light.sun_elevation_deg))
    turn = math.radians(light.sun_azimuth_deg)
    step_e, step_s = math.sin(turn), -math.cos(turn)
    dark = np.zeros(height_m.shape, np.bool_)
    reach_m = min(float(height_m.max()) / slope, 60.0)
    for far_m in np.arange(0.8, reach_m, 0.8):
        shift_c, shift_r = round(step_e * far_m / CELL_M), round(step_s * far_m / CELL_M)
        here, there = _find_overlap(height_m.shape, shift_r, shift_c)
        dark[here] |= height_m[there] - height_m[here] > far_m * slope
    return dark


def _find_overlap(
    cells: tuple[int, ...], shift_r: int, shift_c: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of cells and of the cells shifted by (rows, columns) that both lie in the scene."""

    def pair(cells: int, shift: int) -> tuple[slice, slice]:
        low, high = max(0, -shift), max(cells - max(0, shift), 0, -shift)
        return slice(low, high), slice(low + shift, high + shift)

    (row, row_there), (column, column_there) = pair(cells[0], shift_r), pair(cells[1], shift_c)
    return (row, column), (row_there, column_there)


def develop(linear: F32, light: Light, rng: Generator, noise: float) -> U8:
    """Apply the camera: gain per channel, gamma, contrast curve, sensor noise; to uint8."""
    x = np.clip(linear * np.array(light.gain, np.float32) / 255.0, 0.0, None)
    x = np.clip(x, 1e-4, 1.6) ** np.float32(light.gamma)
    x = x / (0.72 + 0.28 * x)  # soft shoulder instead of clipped highlights
    x += rng.normal(0.0, noise, x.shape).astype(np.float32)
    return np.asarray(np.clip(x, 0.0, 1.0) * 255.0 + 0.5, np.uint8)


NEAREST_M, FARTHEST_M, SAMPLES = 0.9, 230.0, 220
EYE_M = 2.3  # of a camera, where nothing else is said

DISTANCES_M = np.geomspace(NEAREST_M, FARTHEST_M, SAMPLES).astype(np.float32)


TEXTURE_M = 2.5  # side of a picture of a wall
CAMERA_CLEARANCE_M = 44.0  # from the border of the map: half a footprint and a little
LAMP_M, LAMPS_SEEN_M = 5.2, 120.0  # height of street lamps, and from how far they are drawn
LAMP_RGB = np.array([255.0, 244.0, 222.0], np.float32)
LAMP_POST_RGB = np.array([14.0, 14.0, 15.0], np.float32)
LIT_WINDOW_RGB = np.array([236.0, 206.0, 150.0], np.float32)
NIGHT_SKY_SHARE = 0.1  # of the brightness of a day
SKYLIGHT = np.array([176.0, 186.0, 200.0], np.float32)


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
    glow: F32 | None = None,
) -> F32:
    """Colour [n, 3] of wall points of objects ``row``, at (east, south) and height ``up_m``.

    ``outward`` [n, 2]: which way the wall faces (east, south; any length), where an object is not
    the box that stands for it. ``textures`` [t, h, w, 3]: walls that half of the objects take.
    ``glow`` [n]: at night, the light of lamps on the ground before the wall.
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
    if glow is not None:
        awake = window & (pane > 0.9) & ~trunk
        fall = np.float32(1.0) / (1.0 + (up_m / 5.0) ** 2)
        seen = colour * (NIGHT_SKY_SHARE + glow * fall)[:, None]
        return np.where(awake[:, None], LIT_WINDOW_RGB, seen).astype(np.float32)
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


@dataclass(frozen=True)
class Drive:
    """A day on which photos are taken: its own cars, sun and season, unlike the survey flight's.

    ``top``: what the cells look like from above in this light, trees and cars apart; None where
    ground covers and roofs have each their colour. ``sky``: the day's, or one for each picture.
    """

    scene: Scene
    light: Light
    cars: Cars
    solid_m: F32  # height of buildings, trunks and cars
    sunlit: F32  # brightness of cells in the sun and in shadow
    ground_rgb: F32  # by GroundCover
    crown_rgb: F32  # by tint
    objects: ObjectArrays
    top: U8 | None = None  # [rows, columns, 3]
    sky: Sky | None = None
    outward: I8 | None = None  # [rows, columns, 2]: which way walls face, see ``colour_walls``
    textures: U8 | None = None  # of walls, see ``colour_walls``
    night: Night | None = None


@dataclass(frozen=True, eq=False)
class Night:
    """Street lamps [n, 2] (east, south in m); their light on cells is the drive's ``sunlit``."""

    lamps: F32


@dataclass(frozen=True)
class Sky:
    """The upper half of a panorama of a real sky, [rows, columns, 3]: 90 degrees to the horizon."""

    picture: U8
    turn_deg: float  # the bearing of its middle in the grid frame


@dataclass(frozen=True)
class Shot:
    """One picture to take: place, grid heading of its middle, field of view, pitch, size."""

    east_m: float
    south_m: float
    heading_deg: float  # clockwise from grid north
    fov_deg: float = 360.0
    pitch_deg: float = 0.0
    width_px: int = 1024
    height_px: int = 512
    look: int = 0
    eye_m: float = EYE_M


def start_drive(town: Town, day: int = 0) -> Drive:
    """Draw the light and the cars of one of the town's days."""
    rng = town.seed_generator(f"drive {day}")
    light = draw_light(rng, overcast_share=0.4)
    cars = park_cars(town, rng)
    solid = np.maximum(town.height_m, cars.height_m)
    dark = cast_shadows(np.maximum(solid, town.crown_top_m), light)
    return Drive(
        town,
        light,
        cars,
        solid,
        np.where(dark, np.float32(light.shade), np.float32(1.0)),
        colour_ground(light),
        draw_crown_colours(light, rng),
        stack_objects(town.objects),
    )


def draw_camera_places(town: Town, count: int, purpose: str) -> F64:
    """Positions [count, 2] (east, south in m) near the middle of streets, inside the map."""
    free = (town.streets.kerb_m < -0.55 * town.streets.half_m) & (town.height_m == 0)
    edge = town.apron_cells + math.ceil(CAMERA_CLEARANCE_M / CELL_M)
    free[:edge], free[-edge:], free[:, :edge], free[:, -edge:] = False, False, False, False
    rows, columns = np.nonzero(free)
    require(
        len(rows) > 0,
        f"the town of seed {town.seed} ({town.style_name}) has no street "
        f"{CAMERA_CLEARANCE_M:.0f} m inside its {town.side_m:.0f} m square.\n"
        "Take a larger side or another seed.",
    )
    rng = town.seed_generator(f"places {purpose}")
    pick = rng.integers(0, len(rows), count)
    jitter = rng.uniform(0.0, 1.0, (count, 2))
    places: F64 = np.stack([columns[pick], rows[pick]], axis=1) + jitter
    return places * CELL_M


def render_panorama(
    drive: Drive, shot: Shot, elevation_deg: tuple[float, float] = (-90.0, 90.0)
) -> U8:
    """Render an equirectangular picture [height, width, 3]; rows from top to bottom."""
    step = 360.0 / shot.width_px
    azimuth = shot.heading_deg - 180.0 + step * (np.arange(shot.width_px) + 0.5)
    bottom, top = elevation_deg
    rows = top - (top - bottom) * (np.arange(shot.height_px) + 0.5) / shot.height_px
    linear = render_strip(
        drive, (shot.east_m, shot.south_m), azimuth.astype(np.float32),
        np.clip(rows, -88.0, 88.0).astype(np.float32), shot.look, shot.eye_m,
    )  # fmt: skip
    return _expose(linear, drive, shot)


def render_photo(drive: Drive, shot: Shot) -> U8:
    """Render a perspective picture [height, width, 3], sampled from a finer strip."""
    require(
        0.0 < shot.fov_deg < 150.0,
        f"a photo's field of view must lie in (0, 150) degrees, got {shot.fov_deg}.",
    )
    azimuth, elevation = _compute_directions(shot)
    per_deg = 1.1 * shot.width_px / (2.0 * math.degrees(math.tan(math.radians(shot.fov_deg) / 2)))
    columns = _space_evenly(azimuth, per_deg)
    rows = _space_evenly(elevation, per_deg)[::-1]
    linear = render_strip(
        drive, (shot.east_m, shot.south_m), (columns + shot.heading_deg).astype(np.float32),
        rows.astype(np.float32), shot.look, shot.eye_m,
    )  # fmt: skip
    x = (azimuth - columns[0]) / (columns[1] - columns[0])
    y = (elevation - rows[0]) / (rows[1] - rows[0])
    return _expose(_sample_bilinear(linear, x, y), drive, shot)


def _compute_directions(shot: Shot) -> tuple[F64, F64]:
    """Azimuth (from the heading) and elevation of every pixel centre, degrees."""
    focal_px = 0.5 * shot.width_px / math.tan(math.radians(shot.fov_deg) / 2.0)
    right = np.arange(shot.width_px) + 0.5 - 0.5 * shot.width_px
    up = 0.5 * shot.height_px - (np.arange(shot.height_px) + 0.5)
    c, s = math.cos(math.radians(shot.pitch_deg)), math.sin(math.radians(shot.pitch_deg))
    forward = focal_px * c - up[:, None] * s + 0.0 * right
    rise = focal_px * s + up[:, None] * c + 0.0 * right
    azimuth = np.degrees(np.arctan2(right[None, :] + 0.0 * up[:, None], forward))
    flat = np.hypot(forward, np.broadcast_to(right, forward.shape))
    return azimuth, np.degrees(np.arctan2(rise, flat))


def _space_evenly(angles_deg: F64, per_deg: float) -> F64:
    low, high = float(angles_deg.min()) - 0.5, float(angles_deg.max()) + 0.5
    return np.linspace(low, high, max(8, math.ceil((high - low) * per_deg)))


def _sample_bilinear(picture: F32, x: F64, y: F64) -> F32:
    left = np.clip(x.astype(np.int64), 0, picture.shape[1] - 2)
    above = np.clip(y.astype(np.int64), 0, picture.shape[0] - 2)
    tx = np.asarray(x - left, np.float32)[..., None]
    ty = np.asarray(y - above, np.float32)[..., None]
    upper = picture[above, left] * (1 - tx) + picture[above, left + 1] * tx
    lower = picture[above + 1, left] * (1 - tx) + picture[above + 1, left + 1] * tx
    return np.asarray(upper * (1 - ty) + lower * ty, np.float32)


def _expose(linear: F32, drive: Drive, shot: Shot) -> U8:
    """Develop a picture; its exposure and white balance vary about those of the day."""
    rng = drive.scene.seed_generator(f"exposure {shot.look}")
    gains = np.array(drive.light.gain) * np.exp(rng.normal(0.0, 0.1) + rng.normal(0.0, 0.03, 3))
    light = Light(**{**vars(drive.light), "gain": tuple(gains), "gamma": drive.light.gamma * 0.95})
    return develop(linear, light, rng, noise=0.015)


def render_strip(
    drive: Drive,
    at: tuple[float, float],
    azimuth_deg: F32,
    elevation_deg: F32,
    look: int,
    eye_m: float = EYE_M,
) -> F32:
    """Render the view from ``at`` along azimuths [A] and elevations [R]: linear RGB [R, A, 3].

    Azimuths are in the grid frame, clockwise from up; ``look`` seeds the sky and the leaves.
    """
    azimuth = np.radians(azimuth_deg).astype(np.float32)
    tangent = np.tan(np.radians(elevation_deg)).astype(np.float32)
    fan = sample_fan(drive.scene, drive.solid_m, at, azimuth, eye_m)
    hits = cast_rays(drive.scene, fan, azimuth, tangent)
    rng = drive.scene.seed_generator(f"look {look}")
    picture = _paint_sky(azimuth_deg, elevation_deg, rng)
    if drive.night is not None:
        picture = _darken_sky(picture, elevation_deg)
    if drive.sky is not None:
        picture = _sample_sky(drive.sky, azimuth_deg, elevation_deg)
    if drive.scene.endless:
        _paint_far_land(picture, azimuth_deg, elevation_deg, rng)
    land = hits.sample < SAMPLES
    picture[land] = _colour_surfaces(drive, hits, land, at, azimuth)
    far = np.where(land, hits.distance_m, 400.0)
    leaves = rng.normal(1.0, 0.14, 4093).astype(np.float32)
    _paint_crowns(drive, collect_crowns(drive.scene, fan), picture, far, (tangent, leaves))
    mist = np.where(land | (far < 390.0), 1.0 - np.exp(-far / 150.0 * drive.light.haze * 1.2), 0.0)
    haze = np.array([196.0, 204.0, 212.0], np.float32)
    if drive.night is not None:
        haze *= np.float32(NIGHT_SKY_SHARE)
    picture += mist[..., None].astype(np.float32) * (haze - picture)
    if drive.night is not None:
        _paint_lamps(drive.night, picture, far, at, (azimuth_deg, tangent, eye_m))
    return picture.transpose(1, 0, 2)


def _paint_far_land(picture: F32, azimuth_deg: F32, elevation_deg: F32, rng: Generator) -> None:
    """Woods and hills beyond the reach of the rays, up to a few degrees high, in the haze."""
    a = np.radians(azimuth_deg)
    height = np.full(len(a), rng.uniform(-1.5, 2.0))
    for waves in (1, 2, 3, 5, 8, 13, 29, 61):
        height += rng.normal(0.0, 1.6 / waves**0.7) * np.sin(waves * a + rng.uniform(0.0, 6.28))
    far = elevation_deg[None, :] < np.minimum(height, 9.0)[:, None]
    green, haze = np.array([72.0, 88.0, 70.0]), np.array([176.0, 188.0, 200.0])
    share = rng.uniform(0.2, 0.8)
    colour = (green * rng.uniform(0.6, 1.3) * (1.0 - share) + haze * share) * rng.normal(1, 0.05, 3)
    picture[far] = colour * rng.normal(1.0, 0.05, (int(far.sum()), 1))


def _colour_surfaces(
    drive: Drive, hits: Hits, land: Bool, at: tuple[float, float], azimuth: F32
) -> F32:
    """Colours [n, 3] of everything solid."""
    scene, cell = drive.scene, hits.cell[land]
    row = scene.object_row.ravel()[cell]
    light = drive.sunlit.ravel()[cell]
    near = np.clip(hits.distance_m[land] / 14.0, 0.25, 1.0)  # cells are too coarse for texture
    grain = 1.0 + near * (scene.grain.ravel()[cell] - 1.0)
    full = np.broadcast_to(azimuth[:, None], land.shape)[land]
    roof = row > 0
    if drive.top is None:
        colour = drive.ground_rgb[scene.ground.ravel()[cell]] * grain[:, None]
        colour[roof] = drive.objects.top[row[roof]] * 0.9
        colour *= light[:, None]
    else:
        colour = _sample_ground(drive.top, at, full, hits.distance_m[land]) * grain[:, None]
        on_top = hits.up_m[land] > 0.0
        colour[on_top] = drive.top.reshape(-1, 3)[cell[on_top]]
    parked = (drive.cars.height_m.ravel()[cell] > 0) & ~roof
    paint = np.array(CAR_RGB, np.float32)[drive.cars.colour.ravel()[cell[parked]]]
    glass = (hits.up_m[land][parked] > 0.95)[:, None]
    colour[parked] = np.where(glass, 60.0, paint * 0.85)
    if drive.night is not None:
        colour[parked] *= light[parked][:, None]
    wall = hits.wall[land] & roof
    far = hits.distance_m[land][wall]
    where = at[0] + far * np.sin(full[wall]), at[1] - far * np.cos(full[wall])
    outward = None if drive.outward is None else drive.outward.reshape(-1, 2)[cell[wall]]
    colour[wall] = colour_walls(
        drive.objects, row[wall], where, hits.up_m[land][wall], drive.light, outward,
        drive.textures, None if drive.night is None else light[wall],
    )  # fmt: skip
    return np.asarray(colour, np.float32)


def _sample_ground(top: U8, at: tuple[float, float], azimuth: F32, distance_m: F32) -> F32:
    """The ground [n, 3] at ``distance_m`` along ``azimuth``, between the cells' middles."""
    import cv2

    column = (at[0] + distance_m * np.sin(azimuth)) / CELL_M - 0.5
    row = (at[1] - distance_m * np.cos(azimuth)) / CELL_M - 0.5
    ground = np.empty((len(azimuth), 3), np.float32)
    for low in range(0, len(azimuth), 32_000):  # remap takes at most 32 767 rows
        part = slice(low, low + 32_000)
        ground[part] = cv2.remap(
            top, np.asarray(column[part, None], np.float32),
            np.asarray(row[part, None], np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )[:, 0]  # fmt: skip
    return ground


def _sample_sky(sky: Sky, azimuth_deg: F32, elevation_deg: F32) -> F32:
    """A real sky, [A, R, 3], without what stands at its horizon."""
    import cv2

    rows, columns = sky.picture.shape[:2]
    up = np.clip(elevation_deg, 0.0, 90.0) * 0.7 + 25.0
    x = (azimuth_deg - sky.turn_deg + 180.0) / 360.0 % 1.0 * columns - 0.5
    y = (1.0 - np.minimum(up, 90.0) / 90.0) * rows - 0.5
    shape = (len(azimuth_deg), len(elevation_deg))
    picture = cv2.remap(
        sky.picture, np.broadcast_to(x[:, None], shape).astype(np.float32),
        np.broadcast_to(y[None, :], shape).astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    return np.asarray(picture, np.float32)


def _paint_sky(azimuth_deg: F32, elevation_deg: F32, rng: Generator) -> F32:
    """A gradient with clouds, [A, R, 3]."""
    clear = np.array([112.0, 152.0, 208.0]) * rng.uniform(0.85, 1.1)
    white = np.array([214.0, 218.0, 224.0]) * rng.uniform(0.85, 1.08)
    cover = rng.uniform(0.0, 1.0)
    height = np.clip(elevation_deg / 50.0, 0.0, 1.0)[None, :]
    phase = rng.uniform(0.0, 6.28, 4)
    a = np.radians(azimuth_deg)[:, None]
    e = np.radians(elevation_deg)[None, :]
    billow = np.sin(2 * a + 5 * e + phase[0]) + np.sin(5 * a - 9 * e + phase[1])
    billow = billow + 0.6 * np.sin(11 * a + 17 * e + phase[2]) + 0.4 * np.sin(23 * a + phase[3])
    cloud = np.clip(billow * 0.35 + 1.6 * cover - 0.6, 0.0, 1.0) * (0.35 + 0.65 * height)
    base = white + (clear - white) * (height**0.6)[..., None]
    return np.asarray(base + cloud[..., None] * (white - base), np.float32)


def _darken_sky(day: F32, elevation_deg: F32) -> F32:
    """The sky of a town at night: clouds faintly lit from below, most at the horizon."""
    low = np.exp(-np.maximum(elevation_deg, 0.0) / 18.0)[None, :, None]
    dark: F32 = day.mean(axis=2, keepdims=True) * np.array([0.92, 0.98, 1.25], np.float32)
    return (dark * NIGHT_SKY_SHARE * (0.6 + 0.9 * low)).astype(np.float32)


def _paint_lamps(
    night: Night,
    picture: F32,
    far: F32,
    at: tuple[float, float],
    view: tuple[F32, F32, float],
) -> None:
    """Shining heads of lamps [A, R, 3] that nothing hides, with a halo of a few degrees."""
    azimuth_deg, tangent, eye_m = view
    away = night.lamps - np.array(at, np.float32)
    distance = np.hypot(*away.T)
    rise = np.degrees(np.arctan(tangent))
    for (east, south), metres in zip(away, distance, strict=True):
        if not 2.0 < metres < LAMPS_SEEN_M:
            continue
        off = (azimuth_deg - math.degrees(math.atan2(east, -south)) + 180.0) % 360.0 - 180.0
        up = math.degrees(math.atan((LAMP_M - eye_m) / metres))
        columns, rows = np.flatnonzero(np.abs(off) < 6.0), np.flatnonzero(np.abs(rise - up) < 6.0)
        if not len(columns) or not len(rows):
            continue
        post = np.flatnonzero(np.abs(off) < max(math.degrees(0.07 / metres), 0.2))
        below = (rise < up) & (rise > math.degrees(math.atan(-eye_m / metres)))
        for column in post:
            picture[column, below & (far[column] > metres)] = LAMP_POST_RGB
        box = np.ix_(columns, rows)
        apart = np.hypot(off[columns][:, None] * math.cos(math.radians(up)), rise[rows] - up)
        size = max(math.degrees(0.22 / metres), 0.25)
        shine = np.where(apart < size, 1.0, 0.35 * np.exp(-((apart - size) / 1.6)))
        shine = np.where(far[box] > metres, shine, 0.0)[..., None].astype(np.float32)
        picture[box] += shine * (LAMP_RGB - picture[box])


def _paint_crowns(
    drive: Drive,
    panels: Crowns,
    picture: F32,
    far: F32,
    rows_and_leaves: tuple[F32, F32],
) -> None:
    """Paint tree crowns over what lies behind them, far ones first; updates ``far`` in place."""
    tangent, leaves = rows_and_leaves
    order = np.argsort(tangent)
    rising = tangent[order]
    first = np.searchsorted(rising, panels.low)
    tall = np.maximum(np.searchsorted(rising, panels.high, side="right") - first, 0)
    tint = drive.crown_rgb[drive.scene.crown_tint.ravel()[panels.cell]]
    tint = tint * drive.sunlit.ravel()[panels.cell][:, None] ** 0.5
    panel = np.repeat(np.arange(len(tall)), tall)
    row = order[first[panel] + _count_up(tall)]
    column, distance = panels.column[panel], panels.distance_m[panel]
    seen = far[column, row] > distance
    panel, row, column, distance = panel[seen], row[seen], column[seen], distance[seen]
    visible = np.bincount(panel, minlength=len(tall))
    step = (1.15 - 0.7) / np.maximum(visible - 1, 1)
    number = _count_up(visible)
    rise = np.where((number == visible[panel] - 1) & (number > 0), 1.15, number * step[panel] + 0.7)
    leaf = leaves[((column // 2) * 271 + (row // 2) * 83) % 4093]
    # Of several panels over one pixel the last one stays, which is the nearest.
    picture[column, row] = tint[panel] * (rise.astype(np.float32) * leaf)[:, None]
    far[column, row] = distance


def _count_up(lengths: I64) -> I64:
    """0, 1, ... for each of the lengths, one after another."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def render_orthophoto(town: Town) -> U8:
    """Render the mapped square, grid north up, [n, n, 3] at ``CELL_M`` metres per pixel."""
    rng = town.seed_generator("flight")
    light = draw_light(rng, overcast_share=0.25)
    cars = park_cars(town, rng)
    surface = np.maximum(np.maximum(town.height_m, cars.height_m), town.crown_top_m)
    picture = _colour_map(town, light, cars, draw_crown_colours(light, rng))
    picture *= np.where(cast_shadows(surface, light), np.float32(light.shade), np.float32(1.0))[
        ..., None
    ]
    picture *= _shade_slopes(town.height_m, light)[..., None]
    inner = slice(town.apron_cells, town.apron_cells + town.mapped_cells)
    picture = picture[inner, inner]
    picture += np.float32(0.45 * light.haze) * (SKYLIGHT - picture)
    return develop(picture, light, rng, noise=0.012)


def _colour_map(town: Town, light: Light, cars: Cars, crowns: F32) -> F32:
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
