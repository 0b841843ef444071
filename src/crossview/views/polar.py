"""Unrolling an aerial image about its centre: ours by pixel centres, and the authors' by indices.

The transform is that of SAFA (Shi et al., NeurIPS 2019); DSM, L2LTR, GeoDTR and GeoDTR+ use it too.
Columns run south, west, north (the middle), east; the bottom row is the centre. Written from the
formula; the authors' code was not used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from crossview.arrays import F32, F64, U8
from crossview.errors import InvalidValue


@lru_cache(maxsize=16)
def unrolled_directions(height: int, width: int) -> tuple[F32, F32]:
    """(right, down) [height, width] of every polar pixel, in units of the circle's radius.

    Pixel centres: column c looks at azimuth 360 (c + 0.5) / width - 180 degrees, clockwise from
    up; row r lies at (height - r - 0.5) / height of the radius.
    """
    azimuth = 2.0 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    radius = (height - np.arange(height) - 0.5)[:, None] / height
    right, down = radius * np.sin(azimuth), -radius * np.cos(azimuth)
    return right.astype(np.float32), down.astype(np.float32)


def authors_positions(side: int, height: int, width: int) -> tuple[F64, F64]:
    """(rows, columns) [height, width] in the source, as array indices, of the authors' transform.

    Row i, column j: radius (side / 2) (height - 1 - i) / height, angle 2 pi j / width.
    """
    radius = side / 2.0 * (height - 1 - np.arange(height, dtype=np.float64))[:, None] / height
    angle = 2.0 * np.pi * np.arange(width, dtype=np.float64) / width
    return side / 2.0 + radius * np.cos(angle), side / 2.0 - radius * np.sin(angle)


def authors_polar(
    pixels: U8, height: int, width: int, *, how: Literal["exact", "fast"] = "exact"
) -> F32 | U8:
    """The authors' polar image [height, width, C] of a square aerial image [S, S, C].

    "exact": float32, their bilinear sum; samples beyond the image count as 0. Truncate to uint8 for
    what GeoDTR stores. "fast": uint8, OpenCV's fixed-point bilinear: on photos within 0.5 of 255
    of it on average, at 1/20 of the time.
    """
    if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1]:
        raise InvalidValue(f"the polar transform takes [S, S, C], got {list(pixels.shape)}.")
    if how == "fast":
        return _fast(pixels, height, width)
    return _bilinear(pixels, *authors_positions(pixels.shape[0], height, width))


def _bilinear(pixels: U8, rows: F64, columns: F64) -> F32:
    """Bilinear interpolation at array indices, zero outside."""
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    total = np.zeros((*rows.shape, pixels.shape[2]), np.float64)
    for down in (0, 1):
        for right in (0, 1):
            row, column = top + down, left + right
            weight = (1.0 - np.abs(rows - row)) * (1.0 - np.abs(columns - column))
            inside = (row >= 0) & (row < len(pixels)) & (column >= 0) & (column < len(pixels))
            values = pixels[np.where(inside, row, 0), np.where(inside, column, 0)]
            total += np.where(inside, weight, 0.0)[..., None] * values
    return total.astype(np.float32)


def _fast(pixels: U8, height: int, width: int) -> U8:
    import cv2

    maps = _authors_maps(len(pixels), height, width)
    view = cv2.remap(np.ascontiguousarray(pixels), *maps, cv2.INTER_LINEAR)
    return np.asarray(view, dtype=np.uint8)


@lru_cache(maxsize=8)
def _authors_maps(side: int, height: int, width: int) -> tuple[Any, Any]:
    import cv2

    rows, columns = authors_positions(side, height, width)
    maps: tuple[Any, Any] = cv2.convertMaps(
        columns.astype(np.float32), rows.astype(np.float32), cv2.CV_16SC2
    )
    return maps
