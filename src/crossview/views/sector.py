"""A panorama as a camera of unknown heading and limited field of view sees it.

SinGeo (Chen et al., CVPR 2026) and ConGeo (Mi et al., ECCV 2024) make the positive of a panorama
by shifting it circularly and keeping the first columns: rows are never cut.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import I64
from crossview.errors import require


class Sector(NamedTuple):
    """Columns [h, w] kept of a panorama, and where its middle looks.

    ``heading_deg``: azimuth of the middle, clockwise from the panorama's own middle, in
    [-180, 180).
    """

    columns: I64
    heading_deg: float


def sector(width: int, theta_deg: float, angle_deg: float) -> Sector:
    """Which columns of a panorama ``width`` wide stay: shifted right by the angle, the first theta.

    Both are truncated to whole columns, as the authors do: int(angle / 360 * width) to shift by,
    int(theta / 360 * width) kept (at least 1). Raises InvalidValue for theta outside (0, 360].
    """
    require(0.0 < theta_deg <= 360.0, f"theta must lie in (0, 360] degrees, got {theta_deg}.")
    kept = max(1, int(theta_deg / 360.0 * width))
    first = (width - int(angle_deg / 360.0 * width)) % width
    middle = 360.0 * (first + kept / 2.0) / width - 180.0
    columns = (first + np.arange(kept)) % width
    return Sector(columns, float((middle + 180.0) % 360.0 - 180.0))


def narrow(panorama: NDArray[Any], kept: Sector) -> NDArray[Any]:
    """T_g^1, for convolutional networks: [h, W, C] -> [h, w, C], nothing around it."""
    return np.ascontiguousarray(panorama[:, kept.columns])


def padded(
    panorama: NDArray[Any], kept: Sector, colour: tuple[int, ...], shift_px: int = 0
) -> NDArray[Any]:
    """T_g^2, for networks of fixed width: the kept columns on a canvas [h, W, C] of one colour.

    Laid out from column 0, then shifted right circularly by ``shift_px``, so they may wrap.
    """
    canvas = np.empty_like(panorama)
    canvas[:] = np.array(colour, dtype=panorama.dtype)
    canvas[:, : len(kept.columns)] = panorama[:, kept.columns]
    return np.roll(canvas, shift_px, axis=1)


def middle_shift(width: int, kept: Sector) -> int:
    """The ``shift_px`` that puts a padded sector in the middle, where ViewSpec wants a photo."""
    return (width - len(kept.columns)) // 2
