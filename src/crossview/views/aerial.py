"""An aerial window as the model sees it: cut to the footprint, then resized or unrolled.

Resizing by the rule that a model was trained with; rules differ enough to cost accuracy.

Pictures of a data set as the papers take them: the file squashed or unrolled to the input.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from crossview.arrays import U8
from crossview.errors import InvalidValue
from crossview.views.polar import authors_polar, unrolled_directions
from crossview.views.spec import Resize, ViewSpec


def resized(pixels: U8, size: tuple[int, int], rule: Resize) -> U8:
    """``pixels`` [H, W, 3] as [h, w, 3] with ``size`` = (h, w).

    "area": every output pixel averages the area it covers (bilinear where a side grows).
    "linear": OpenCV's exact bilinear, which aliases when shrinking, as Sample4Geo and SinGeo do.
    "linear-antialias": Pillow's bilinear, whose filter widens when shrinking, as torchvision does.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    if rule == "linear-antialias":
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    import cv2

    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    how = cv2.INTER_LINEAR_EXACT
    if rule == "area":
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=how)
    return np.asarray(small, dtype=np.uint8)


_LEAST_SHARE = 0.97  # of the footprint that a window must hold; the rest repeats its edge
_STEPS_PER_PX = 32  # maps are made for radii rounded to this, which is as fine as cv2.remap samples


def aerial_view(pixels: U8, metres_per_px: float, spec: ViewSpec) -> U8:
    """The model's picture [h, w, 3] of the ``spec.footprint_m`` metres about the centre.

    ``pixels`` [H, W, 3] have up = north and ``metres_per_px`` on the ground; they may show more
    than the footprint. Cuts are to the nearest pixel, or exact if ``spec.polar``.
    """
    footprint_m = spec.known_footprint_m
    if not metres_per_px > 0.0:
        raise InvalidValue(
            f"an aerial picture of {metres_per_px:g} metres per pixel (nan: unknown), of which the "
            f"model's footprint of {footprint_m:g} m cannot be cut.\n"
            "Say how many they are, or take whole files as the papers do (ViewSpec.whole)."
        )
    side_px = footprint_m / metres_per_px
    shorter = min(pixels.shape[:2])
    if not shorter >= _LEAST_SHARE * side_px - 1.0:
        raise InvalidValue(
            f"an aerial picture of {pixels.shape[1]} x {pixels.shape[0]} pixels of "
            f"{metres_per_px:g} m is smaller than the model's footprint of "
            f"{footprint_m:g} m.\nGive a larger picture or check its metres per pixel."
        )
    if not spec.polar:
        side = min(max(1, round(side_px)), shorter)
        return resized(_middle(pixels, side), (spec.height_px, spec.width_px), spec.resize)
    return _unrolled(pixels, side_px, spec)


def _middle(pixels: U8, side: int) -> U8:
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def _unrolled(pixels: U8, side_px: float, spec: ViewSpec) -> U8:
    """Polar view about the exact centre, averaged first where the source is much finer."""
    import cv2

    height, width = pixels.shape[:2]
    times = max(1, int(side_px / (2 * spec.height_px) + 0.3))  # source pixels per radial step
    if times > 1:
        small = (width // times, height // times)
        pixels = pixels[: small[1] * times, : small[0] * times]
        pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
    centre = (width / 2.0 / times, height / 2.0 / times)
    maps = _maps(centre, round(side_px / times / 2.0 * _STEPS_PER_PX), spec)
    view = cv2.remap(
        np.ascontiguousarray(pixels), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(view, dtype=np.uint8)


@lru_cache(maxsize=256)
def _maps(centre: tuple[float, float], radius: int, spec: ViewSpec) -> tuple[Any, Any]:
    """Fixed-point maps for ``cv2.remap`` about ``centre`` (x, y); ``radius`` in 1/32 pixels."""
    import cv2

    right, down = unrolled_directions(spec.height_px, spec.width_px)
    reach = np.float32(radius / _STEPS_PER_PX)
    column = np.float32(centre[0] - 0.5) + reach * right
    row = np.float32(centre[1] - 0.5) + reach * down
    maps: tuple[Any, Any] = cv2.convertMaps(column, row, cv2.CV_16SC2)
    return maps


def whole_view(pixels: U8, spec: ViewSpec, *, fast: bool = False) -> U8:
    """The view [h, w, 3] of a whole file [H, W, 3]: ``keep_rows`` of it, resized or unrolled.

    Unrolled pictures are truncated to integers, as GeoDTR stores them (``views.polar``). ``fast``:
    by area whatever the rule, and unrolled with OpenCV's fixed-point bilinear.
    """
    first, last = (round(share * len(pixels)) for share in spec.keep_rows)
    kept = pixels[first:last]
    if spec.polar:
        size = (spec.height_px, spec.width_px)
        return authors_polar(kept, *size, how="fast" if fast else "exact").astype(np.uint8)
    return resized(kept, (spec.height_px, spec.width_px), "area" if fast else spec.resize)


def needed_px(spec: ViewSpec) -> tuple[int, int]:
    """Rows and columns of a file from which :func:`whole_view` still only shrinks."""
    first, last = spec.keep_rows
    if spec.polar:
        return 2 * spec.height_px, 2 * spec.height_px
    return math.ceil(spec.height_px / (last - first)), spec.width_px
