"""Panoramas turned upright: any part of the sphere, tilted or on a cylinder, as equal angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossview.arrays import F32, U8, Bool
from crossview.views.exif import Panorama

LEAST_TILT_DEG = 0.1  # smaller tilts are ignored: a third of a column of a canvas of 1024
FINEST_COLUMNS = 4096  # for 360 degrees, of turned pictures: finer than any network's canvas
_MOST_SIDE_PX = 32_000  # that cv2.remap accepts
_CHUNK_PX = 1 << 20  # resampled together, so that little memory is needed beside the pictures
_GRID_DEG = 0.5  # of the coarse grid that finds the directions in a tilted picture
_BLACK = 24  # of 255, the most that a lens and JPEG leave in unlit areas
_UNSEEN = (124, 116, 104)  # ImageNet's mean colour, as behind transparent pixels


@dataclass(frozen=True, kw_only=True)
class UprightPanorama:
    """A panorama whose columns and rows are equal angles, from a camera that stood level."""

    pixels: U8  # [H, W, 3]
    fov_deg: float
    middle_deg: float  # azimuth of the middle column from the sphere's front
    horizon_px: float  # row of the horizon, 0 = top edge


def needs_turning(panorama: Panorama) -> bool:
    """Whether :func:`turn_upright` would change pixels."""
    return panorama.projection != "equirectangular" or is_tilted(panorama)


def is_tilted(panorama: Panorama) -> bool:
    """Whether the camera was tilted by enough to matter."""
    return max(abs(panorama.pitch_deg), abs(panorama.roll_deg)) >= LEAST_TILT_DEG


def turn_upright(pixels: U8, panorama: Panorama) -> UprightPanorama:
    """Turn a picture [H, W, 3] on the sphere upright; unchanged if it is upright already.

    A direction of the level sphere is turned into the camera's frame by heading, pitch and roll in
    this order (Photo Sphere XMP: pitch about the right axis, roll about the forward axis), and
    sampled there bilinearly. The result is the smallest box that holds all visible directions; the
    rest of it gets the mean colour. Columns keep their angle per pixel, down to that of
    ``FINEST_COLUMNS``.
    """
    if not needs_turning(panorama):
        rise = panorama.top / (panorama.top - panorama.bottom)
        return UprightPanorama(
            pixels=pixels,
            fov_deg=panorama.fov_deg,
            middle_deg=panorama.middle_deg,
            horizon_px=rise * len(pixels),
        )
    pixels = _shrink(pixels, panorama.fov_deg)
    per_degree = pixels.shape[1] / panorama.fov_deg
    left, right, bottom, top = _find_seen_box(panorama)
    columns = max(1, min(round((right - left) * per_degree), _MOST_SIDE_PX))
    rows = max(1, min(round((top - bottom) * per_degree), _MOST_SIDE_PX))
    azimuth = left + (np.arange(columns) + 0.5) / columns * (right - left)
    elevation = top - (np.arange(rows) + 0.5) / rows * (top - bottom)
    return UprightPanorama(
        pixels=_sample(pixels, panorama, azimuth, elevation),
        fov_deg=360.0 if right - left > 360.0 - 1e-6 else right - left,
        middle_deg=(left + right) / 2.0,
        horizon_px=top / (top - bottom) * rows,
    )


def locate_directions(
    panorama: Panorama, azimuth_deg: Any, elevation_deg: Any
) -> tuple[F32, F32, Bool]:
    """(x, y, seen) of level directions: x and y in [0, 1] across and down the picture.

    ``azimuth_deg`` counts clockwise from the azimuth of the sphere's front; arrays are broadcast.
    """
    azimuth, elevation = (
        np.radians(angle).astype(np.float32) for angle in (azimuth_deg, elevation_deg)
    )
    flat = np.cos(elevation)
    right, forward, up = flat * np.sin(azimuth), flat * np.cos(azimuth), np.sin(elevation)
    pitch, roll = math.radians(panorama.pitch_deg), math.radians(panorama.roll_deg)
    forward, up = (
        forward * math.cos(pitch) + up * math.sin(pitch),
        up * math.cos(pitch) - forward * math.sin(pitch),
    )
    right, up = (
        right * math.cos(roll) - up * math.sin(roll),
        right * math.sin(roll) + up * math.cos(roll),
    )
    turned = np.degrees(np.arctan2(right, forward)) - panorama.middle_deg
    x = ((turned + 180.0) % 360.0 - 180.0) / panorama.fov_deg + 0.5
    level = np.hypot(right, forward)
    if panorama.projection == "cylindrical":
        rise = up / np.maximum(level, 1e-9)
    else:
        rise = np.degrees(np.arctan2(up, level))
    y = (panorama.top - rise) / (panorama.top - panorama.bottom)
    edge = 1e-6
    seen = (x >= -edge) & (x <= 1.0 + edge) & (y >= -edge) & (y <= 1.0 + edge)
    return x.astype(np.float32), y.astype(np.float32), seen


def shows_two_fisheyes(pixels: U8) -> bool:
    """Whether a picture [H, W, 3], twice as wide as high, is two round ones on black.

    Cameras with two lenses store them so. Outside both circles all must be black; just inside
    their upper, lower and outer edges there must be a picture.
    """
    height, width = pixels.shape[:2]
    rows, columns = np.linspace(0, height - 1, 65), np.linspace(0, width - 1, 129)
    small = pixels[rows.astype(int)][:, columns.astype(int)].max(axis=-1)
    down = (rows / (height - 1) * 2.0 - 1.0)[:, None]
    across = (columns / (width - 1) * 4.0 % 2.0 - 1.0)[None, :]
    radius = np.hypot(down, across)
    seen = small > _BLACK
    ring = (radius > 0.8) & (radius < 0.9)
    towards = np.arctan2(down, across) // (math.pi / 2.0)
    parts = (ring & (towards == quarter) for quarter in (-2, -1, 0, 1))
    return not seen[radius > 1.1].any() and all(seen[part].mean() > 0.3 for part in parts)


def _find_seen_box(panorama: Panorama) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of all visible directions, degrees; right - left at most 360."""
    top, bottom = panorama.top, panorama.bottom
    if panorama.projection == "cylindrical":
        top, bottom = (math.degrees(math.atan(t)) for t in (top, bottom))
    left = panorama.middle_deg - panorama.fov_deg / 2.0
    if not is_tilted(panorama):
        return left, left + panorama.fov_deg, bottom, top
    if panorama.fov_deg >= 360.0 and top - bottom >= 180.0:
        return left, left + 360.0, -90.0, 90.0
    azimuth = np.arange(left + _GRID_DEG / 2.0, left + 360.0, _GRID_DEG)
    elevation = np.arange(90.0 - _GRID_DEG / 2.0, -90.0, -_GRID_DEG)
    seen = locate_directions(panorama, azimuth[None, :], elevation[:, None])[2]
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(columns):  # smaller than the grid
        return left, left + panorama.fov_deg, bottom, top
    half = _GRID_DEG / 2.0
    bottom, top = float(elevation[rows[-1]]) - half, float(elevation[rows[0]]) + half
    gaps = np.diff(np.append(columns, columns[0] + len(azimuth)))
    widest = int(np.argmax(gaps))
    if gaps[widest] <= 1:
        return left, left + 360.0, bottom, top
    first = columns[(widest + 1) % len(columns)]
    count = len(azimuth) - int(gaps[widest]) + 1
    start = float(azimuth[first]) - half
    return start, start + count * _GRID_DEG, bottom, top


def _sample(pixels: U8, panorama: Panorama, azimuth: Any, elevation: Any) -> U8:
    import cv2

    height, width = pixels.shape[:2]
    around = panorama.fov_deg >= 360.0
    if around:  # the picture continues across the seam
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, 0, 1, 1, cv2.BORDER_WRAP), np.uint8)
    level = np.empty((len(elevation), len(azimuth), 3), np.uint8)
    step = max(1, _CHUNK_PX // len(azimuth))
    for start in range(0, len(elevation), step):
        part = slice(start, start + step)
        x, y, seen = locate_directions(panorama, azimuth[None, :], elevation[part, None])
        column = x * np.float32(width) + np.float32(0.5 if around else -0.5)
        row = y * np.float32(height) - np.float32(0.5)
        level[part] = cv2.remap(
            pixels, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        level[part][~seen] = _UNSEEN
    return level


def _shrink(pixels: U8, fov_deg: float) -> U8:
    import cv2

    height, width = pixels.shape[:2]
    times = max(height / _MOST_SIDE_PX, width / fov_deg / (FINEST_COLUMNS / 360.0))
    if times <= 1.0:
        return pixels
    size = (max(1, int(width / times)), max(1, int(height / times)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
