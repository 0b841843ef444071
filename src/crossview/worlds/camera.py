"""Cameras: panoramas and perspective photos out of strips."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64, U8
from crossview.errors import require
from crossview.worlds.ground import Drive, strip
from crossview.worlds.light import Light, developed


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


def panorama(drive: Drive, shot: Shot, elevation_deg: tuple[float, float] = (-90.0, 90.0)) -> U8:
    """An equirectangular picture [height, width, 3]: equal angles, rows from top to bottom."""
    step = 360.0 / shot.width_px
    azimuth = shot.heading_deg - 180.0 + step * (np.arange(shot.width_px) + 0.5)
    bottom, top = elevation_deg
    rows = top - (top - bottom) * (np.arange(shot.height_px) + 0.5) / shot.height_px
    linear = strip(
        drive, (shot.east_m, shot.south_m), azimuth.astype(np.float32),
        np.clip(rows, -88.0, 88.0).astype(np.float32), shot.look,
    )  # fmt: skip
    return _exposed(linear, drive, shot)


def photo(drive: Drive, shot: Shot) -> U8:
    """A perspective picture [height, width, 3] of square pixels, sampled from a finer strip."""
    require(
        0.0 < shot.fov_deg < 150.0, f"a photo's field of view lies in (0, 150), got {shot.fov_deg}."
    )
    azimuth, elevation = _directions(shot)
    per_deg = 1.1 * shot.width_px / (2.0 * math.degrees(math.tan(math.radians(shot.fov_deg) / 2)))
    columns = _ladder(azimuth, per_deg)
    rows = _ladder(elevation, per_deg)[::-1]
    linear = strip(
        drive, (shot.east_m, shot.south_m), (columns + shot.heading_deg).astype(np.float32),
        rows.astype(np.float32), shot.look,
    )  # fmt: skip
    x = (azimuth - columns[0]) / (columns[1] - columns[0])
    y = (elevation - rows[0]) / (rows[1] - rows[0])
    return _exposed(_bilinear(linear, x, y), drive, shot)


def _directions(shot: Shot) -> tuple[F64, F64]:
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


def _ladder(angles_deg: F64, per_deg: float) -> F64:
    low, high = float(angles_deg.min()) - 0.5, float(angles_deg.max()) + 0.5
    return np.linspace(low, high, max(8, math.ceil((high - low) * per_deg)))


def _bilinear(picture: F32, x: F64, y: F64) -> F32:
    left = np.clip(x.astype(np.int64), 0, picture.shape[1] - 2)
    above = np.clip(y.astype(np.int64), 0, picture.shape[0] - 2)
    tx = np.asarray(x - left, np.float32)[..., None]
    ty = np.asarray(y - above, np.float32)[..., None]
    upper = picture[above, left] * (1 - tx) + picture[above, left + 1] * tx
    lower = picture[above + 1, left] * (1 - tx) + picture[above + 1, left + 1] * tx
    return np.asarray(upper * (1 - ty) + lower * ty, np.float32)


def _exposed(linear: F32, drive: Drive, shot: Shot) -> U8:
    """Each picture has its own exposure and white balance around those of the day."""
    rng = drive.town.stream(f"exposure {shot.look}")
    gains = np.array(drive.light.gain) * np.exp(rng.normal(0.0, 0.1) + rng.normal(0.0, 0.03, 3))
    light = Light(**{**vars(drive.light), "gain": tuple(gains), "gamma": drive.light.gamma * 0.95})
    return developed(linear, light, rng, noise=0.015)
