"""A sphere of colours that are known for every direction, and cameras that see it."""

from __future__ import annotations

import math

import numpy as np


def colours(azimuth_deg, elevation_deg):
    """Smooth float colours [..., 3] in 28..228 that differ in every direction."""
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    a, e = np.broadcast_arrays(a, e)
    channels = [np.sin(3 * a), np.cos(4 * e), np.sin(a + 2 * e)]
    return 128.0 + 100.0 * np.stack(channels, axis=-1)


def as_pixels(values):
    return np.rint(values).astype(np.uint8)


def strip_angles(spec):
    """Azimuths [w] and elevations [h] that the rows and columns of a ViewSpec look at."""
    bottom, top = spec.elevation_deg
    columns, rows = np.arange(spec.width_px), np.arange(spec.height_px)
    azimuths = 360.0 * (columns + 0.5) / spec.width_px - 180.0
    return azimuths, top - (rows + 0.5) / spec.height_px * (top - bottom)


def strip_of_sphere(spec):
    azimuths, elevations = strip_angles(spec)
    return colours(azimuths[None, :], elevations[:, None])


def panorama(width, middle_deg=0.0):
    """A 2:1 panorama whose middle looks at ``middle_deg``."""
    azimuths = 360.0 * (np.arange(width) + 0.5) / width - 180.0 + middle_deg
    elevations = 90.0 - 180.0 * (np.arange(width // 2) + 0.5) / (width // 2)
    return as_pixels(colours(azimuths[None, :], elevations[:, None]))


def photo(width, height, fov_deg, pitch_deg=0.0):
    """A pinhole picture and the row of its horizon."""
    focal_px = width / 2.0 / math.tan(math.radians(fov_deg / 2.0))
    pitch = math.radians(pitch_deg)
    right = ((np.arange(width) + 0.5 - width / 2.0) / focal_px)[None, :]
    up = -((np.arange(height) + 0.5 - height / 2.0) / focal_px)[:, None]
    forward = math.cos(pitch) - up * math.sin(pitch)
    rise = math.sin(pitch) + up * math.cos(pitch)
    azimuth = np.degrees(np.arctan2(right, forward))
    elevation = np.degrees(np.arctan2(rise, np.hypot(right, forward)))
    pixels = as_pixels(colours(azimuth, elevation))
    return pixels, height / 2.0 + focal_px * math.tan(pitch)
