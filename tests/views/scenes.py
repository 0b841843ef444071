"""A sphere of colours that are known for every direction, and cameras that see it."""

from __future__ import annotations

import math

import cv2
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


def draw_street(fov_deg, pitch_deg, roll_deg=0.0, size=(640, 480), turn_deg=25.0):
    """A picture of blocks along two crossing streets, by a pinhole camera 1.7 m above the ground.

    ``turn_deg``: of the streets against the camera.
    """
    width, height = size
    focal = width / 2.0 / math.tan(math.radians(fov_deg / 2.0))
    pitch, roll, turn = (math.radians(angle) for angle in (pitch_deg, roll_deg, turn_deg))

    def project(east, north, up):
        right = east * math.cos(turn) + north * math.sin(turn)
        ahead = -east * math.sin(turn) + north * math.cos(turn)
        deep = ahead * math.cos(pitch) + (up - 1.7) * math.sin(pitch)
        high = (up - 1.7) * math.cos(pitch) - ahead * math.sin(pitch)
        x, y = focal * right / deep, -focal * high / deep
        turned = x * math.cos(roll) - y * math.sin(roll), x * math.sin(roll) + y * math.cos(roll)
        return deep, (turned[0] + width / 2.0, turned[1] + height / 2.0)

    picture = np.full((height, width, 3), 200, np.uint8)
    for north in (60, 40, 25, 14):
        for east in (-45, -28, -12, 6, 22, 40):
            for shade, *wall in ((60, (0, 0), (10, 0)), (100, (0, 0), (0, 9)),
                                 (140, (10, 0), (10, 9))):  # fmt: skip
                (x0, y0), (x1, y1) = wall
                around = (x0, y0, 0), (x1, y1, 0), (x1, y1, 7), (x0, y0, 7)
                corners = [project(east + x, north + y, up) for x, y, up in around]
                if min(deep for deep, _ in corners) > 2.0:
                    points = np.round(16.0 * np.array([at for _, at in corners])).astype(np.int32)
                    cv2.fillPoly(picture, [points], (shade,) * 3, cv2.LINE_AA, 4)
    return picture
