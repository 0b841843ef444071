"""Parts of what training pictures show: the photo in a panorama, the window in a larger tile."""

from __future__ import annotations

import numpy as np

from crossview.arrays import F64, I64, U8
from crossview.views.crops import shown
from crossview.views.spec import ViewSpec


def photo_part(
    canvas: U8,
    spec: ViewSpec,
    fov_deg: float,
    aspect: float,
    *,
    pitch_deg: float = 0.0,
    horizon_known: bool = True,
) -> U8:
    """What a photo of this field of view and aspect (width / height) keeps of a panorama's canvas.

    As ``views.crops`` shows a perspective photo: the middle kept, the rest in the mean colour. A
    camera that looks up by ``pitch_deg`` sees higher parts; if its horizon is not known, what it
    sees is laid out as if it were level, that is, too low.
    """
    if not horizon_known:
        bottom, top = spec.known_elevation_deg
        canvas = np.roll(canvas, round(pitch_deg * spec.height_px / (top - bottom)), axis=0)
        pitch_deg = 0.0
    seen = shown(canvas, spec, fov_deg, kind="perspective", aspect=aspect, pitch_deg=pitch_deg)
    return seen.pixels


def room_px(aerial: U8, metres_per_px: float, footprint_m: float) -> I64:
    """How many rows and columns [2] a picture from above has more than its footprint needs."""
    side = min(round(footprint_m / metres_per_px) + 2, *aerial.shape[:2])
    room: I64 = np.array(aerial.shape[:2]) - side
    return room


def window_at(aerial: U8, room: I64, shift_px: F64) -> U8:
    """Cut the window that :func:`room_px` leaves, its centre moved by (rows, columns)."""
    top, left = np.round(room / 2 + shift_px).astype(int)
    height, width = np.array(aerial.shape[:2]) - room
    return aerial[top : top + height, left : left + width]
