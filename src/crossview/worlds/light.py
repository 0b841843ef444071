"""Light: a season, a sun, a camera. The two views never share one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, U8, Bool
from crossview.worlds.raster import CELL_M, Generator
from crossview.worlds.town import GroundCover

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
