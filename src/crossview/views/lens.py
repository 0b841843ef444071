"""Lenses: where a direction lies in a picture, for pinhole photos and bands of equal angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crossview.arrays import F32, Bool
from crossview.errors import require

Kind = Literal["panorama", "perspective"]

FOV_RANGE_DEG = (0.1, 360.0)  # the longest telephoto lenses see half a degree
FLAT_LIMIT_DEG = 170.0  # wider pictures are stitched: equal angles both ways
_PITCH_LIMIT_DEG = 85.0
_BEHIND = np.float32(1e9)  # far outside any picture


def require_fov(fov_deg: float) -> None:
    """Raise :class:`InvalidValue` unless a horizontal field of view lies in ``FOV_RANGE_DEG``."""
    low, high = FOV_RANGE_DEG
    require(
        low <= fov_deg <= high,
        f"a field of view must lie in (0, {high:g}] degrees, at least {low:g}, got {fov_deg:g}.",
    )


def turn_lens(fov_deg: float, aspect: float) -> float:
    """Field of view across an upright picture of ``aspect`` (width / height), in degrees.

    Of a pinhole camera turned onto its side, which has ``fov_deg`` along its longer side.
    """
    return math.degrees(2.0 * math.atan(math.tan(math.radians(fov_deg / 2.0)) * aspect))


@dataclass(frozen=True, slots=True)
class Lens:
    """How a picture's pixels map to directions.

    ``flat``: a pinhole of horizontal field of view ``fov_deg``, turned up by ``pitch_deg``.
    Otherwise a band: columns span ``fov_deg`` in equal angles, rows ``fov_deg / aspect``, and the
    middle row points ``pitch_deg`` up. ``aspect`` is width over height.
    """

    flat: bool
    fov_deg: float
    aspect: float
    pitch_deg: float = 0.0

    def __post_init__(self) -> None:
        require_fov(self.fov_deg)
        require(
            math.isfinite(self.aspect) and self.aspect > 0.0,
            f"aspect (width / height) must be > 0, got {self.aspect}.",
        )
        require(
            abs(self.pitch_deg) <= _PITCH_LIMIT_DEG,
            f"a pitch of {self.pitch_deg:.0f} degrees is too steep; "
            f"at most +-{_PITCH_LIMIT_DEG:g} degrees are allowed. Check the row of the horizon.",
        )

    def locate(self, azimuth_deg: F32, elevation_deg: F32) -> tuple[F32, F32]:
        """(x, y) of directions: x in [-1, 1] from left to right, y in [-1, 1] from top to bottom.

        ``azimuth_deg`` [1, w] clockwise from the middle of the picture, ``elevation_deg`` [h, 1].
        What the picture does not show lies outside [-1, 1].
        """
        if self.flat:
            return self._on_plane(np.radians(azimuth_deg), np.tan(np.radians(elevation_deg)))
        half = np.float32(self.fov_deg / 2.0)
        x = np.broadcast_to(azimuth_deg / half, np.broadcast(azimuth_deg, elevation_deg).shape)
        y = np.broadcast_to((self.pitch_deg - elevation_deg) * self.aspect / half, x.shape)
        return x.astype(np.float32), y.astype(np.float32)

    def _on_plane(self, azimuth: F32, rise: F32) -> tuple[F32, F32]:
        """Directions (sin a, cos a, rise), turned by the pitch and divided by their depth."""
        pitch = math.radians(self.pitch_deg)
        c, s = np.float32(math.cos(pitch)), np.float32(math.sin(pitch))
        forward = np.cos(azimuth).astype(np.float32)
        depth = forward * c + rise.astype(np.float32) * s
        up = rise.astype(np.float32) * c - forward * s
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.float32(1.0 / math.tan(math.radians(self.fov_deg / 2.0))) / depth
            x = np.where(depth > 1e-6, np.sin(azimuth).astype(np.float32) * scale, _BEHIND)
            y = np.where(depth > 1e-6, -up * scale * np.float32(self.aspect), _BEHIND)
        return x, y


def fit_lens(
    kind: str, size_px: tuple[int, int], fov_deg: float, horizon_px: float | None = None
) -> Lens:
    """The lens of a picture of (width, height) pixels, ``kind`` "panorama" or "perspective".

    ``horizon_px`` is the row of the horizon (0 = top edge); without it the camera was level. A
    perspective picture wider than 170 degrees is treated as a band of equal angles.
    """
    require(
        kind in ("panorama", "perspective"),
        f"kind must be 'panorama' or 'perspective', got {kind!r}.",
    )
    width, height = size_px
    flat = kind == "perspective" and fov_deg <= FLAT_LIMIT_DEG
    level = Lens(flat, fov_deg, width / height)
    if horizon_px is None:
        return level
    require(math.isfinite(horizon_px), f"the horizon's row must be a number, got {horizon_px}.")
    below_px = horizon_px - height / 2.0
    if not flat:
        return Lens(flat, fov_deg, level.aspect, below_px * fov_deg / width)
    focal_px = _measure_focal_px(width, fov_deg)
    return Lens(flat, fov_deg, level.aspect, math.degrees(math.atan2(below_px, focal_px)))


def find_horizon_px(size_px: tuple[int, int], fov_deg: float, pitch_deg: float) -> float:
    """Row of the horizon in a pinhole's picture of (width, height): what :func:`fit_lens` takes."""
    focal_px = _measure_focal_px(size_px[0], fov_deg)
    return size_px[1] / 2.0 + focal_px * math.tan(math.radians(pitch_deg))


def _measure_focal_px(width_px: float, fov_deg: float) -> float:
    return width_px / 2.0 / math.tan(math.radians(fov_deg / 2.0))


def find_visible(x: F32, y: F32) -> Bool:
    """Which positions of :meth:`Lens.locate` lie on the picture."""
    edge = np.float32(1.0 + 1e-5)
    inside: Bool = (np.abs(x) <= edge) & (np.abs(y) <= edge)
    return inside
