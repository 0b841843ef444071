"""Aerial pictures as a model sees them: cut to the footprint or whole, then resized or unrolled.

Resizing follows the rule that a model was trained with; rules differ enough to cost accuracy.
Aerial views are unrolled about their centre in two ways: ours by pixel centres, for windows of
known metres, and the authors' by array indices, for whole files. The latter is the transform of
SAFA (Shi et al., NeurIPS 2019), which DSM, L2LTR, GeoDTR and GeoDTR+ use too. Columns run south,
west, north (the middle), east; the bottom row is the centre. Written from the formula; the authors'
code was not used.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from crossview.arrays import F32, F64, U8
from crossview.errors import InvalidValue, require
from crossview.views.spec import Resize, ViewSpec

_LEAST_SHARE = 0.97  # of the footprint that a window must hold; the rest repeats its edge
_STEPS_PER_PX = 32  # radii are rounded to this, which is as fine as cv2.remap samples


def make_aerial_view(
    pixels: U8, metres_per_px: float, spec: ViewSpec, up_bearing_deg: float = 0.0
) -> U8:
    """Make the model's picture [h, w, 3] of the ``spec.footprint_m`` metres about the centre.

    ``pixels`` [H, W, 3] have up = north and ``metres_per_px`` on the ground; they may show more
    than the footprint. It is cut to the nearest pixel, or exactly if ``spec.polar``. Where
    the view has several scales, ``pixels`` show the widest of them, their up points to
    ``up_bearing_deg``, and what they lack of it is white.
    """
    footprint_m = spec.required_footprint_m
    if not metres_per_px > 0.0:
        raise InvalidValue(
            f"the model's footprint of {footprint_m:g} m cannot be cut out of an aerial picture of "
            f"{metres_per_px:g} metres per pixel (nan: unknown).\n"
            "State its metres per pixel, or take whole files as the papers do (ViewSpec.whole)."
        )
    if spec.spans_m:
        return _look_at_scales(pixels, metres_per_px, spec, spec.up_bearing_deg - up_bearing_deg)
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
        return resize_view(_cut_middle(pixels, side), (spec.height_px, spec.width_px), spec.resize)
    return _unroll(pixels, side_px, spec)


def make_turned_view(
    pixels: U8, metres_per_px: float, spec: ViewSpec, *, quarters: int, share: float = 1.0
) -> U8:
    """Make the view of the middle ``share`` of the footprint, turned by quarters counter-clockwise.

    Of a ``whole`` view, which ``pixels`` already are, the middle is brought to its size again.
    Raises InvalidValue for a polar view and a ``share`` outside of (0, 1].
    """
    require(not spec.polar, "an unrolled view is turned by rolling it.")
    require(0.0 < share <= 1.0, f"a share of the footprint lies in (0, 1], got {share}.")
    if spec.whole:
        middle = _cut_middle(pixels, max(1, round(share * min(pixels.shape[:2]))))
        view = resize_view(middle, (spec.height_px, spec.width_px), spec.resize)
    else:
        closer = replace(spec, footprint_m=share * spec.required_footprint_m)
        view = make_aerial_view(pixels, metres_per_px, closer)
    return np.ascontiguousarray(np.rot90(view, quarters))


def draw_middle(least: float, rng: np.random.Generator) -> float:
    """Draw for :func:`make_turned_view` the share of a window's side, evenly from 0 to 1.

    One of at most ``least`` leaves the window whole, so that none is shown coarser than the network
    takes it: what CVM-Net, OriCNN and HER train with.
    """
    share = float(rng.uniform())
    return share if share > least else 1.0


def _look_at_scales(pixels: U8, metres_per_px: float, spec: ViewSpec, turn_deg: float) -> U8:
    """One square per span, finest first, one below the other, its up ``turn_deg`` from theirs.

    The centre lies under pixel (side // 2, side // 2), as in the authors' crops.
    """
    import cv2

    side, turn = spec.width_px, math.radians(turn_deg)
    view = np.empty((spec.height_px, side, 3), np.uint8)
    for number, span_m in enumerate(spec.spans_m):
        ratio = span_m / side / metres_per_px  # source pixels per pixel
        middle = _cut_around(pixels, math.ceil(side * ratio * math.sqrt(0.5)) + 2)
        times = max(1, int(ratio + 0.3))
        height, width = middle.shape[:2]
        if times > 1:
            size = (max(1, width // times), max(1, height // times))
            whole = middle[: size[1] * times, : size[0] * times]
            middle = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        cos, sin = (f(turn) * ratio / times for f in (math.cos, math.sin))
        half = side // 2
        column, row = width / 2.0 / times - 0.5, height / 2.0 / times - 0.5
        inverse = np.array(
            [
                [cos, -sin, column - half * (cos - sin)],
                [sin, cos, row - half * (sin + cos)],
            ]
        )
        cv2.warpAffine(
            np.ascontiguousarray(middle),
            inverse,
            (side, side),
            dst=view[number * side : (number + 1) * side],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(255, 255, 255),
        )
    return view


def _cut_around(pixels: U8, reach_px: int) -> U8:
    """The pixels up to ``reach_px`` and a half from the centre, which stays the centre."""
    top, left = (max(0, (length - 2 * reach_px) // 2) for length in pixels.shape[:2])
    return pixels[top : len(pixels) - top, left : pixels.shape[1] - left]


def make_whole_view(pixels: U8, spec: ViewSpec, *, fast: bool = False) -> U8:
    """Make the view [h, w, 3] of a whole file [H, W, 3]: ``keep_rows`` of it, resized or unrolled.

    Unrolled pictures are truncated to integers, as GeoDTR stores them. ``fast``: resized by area
    whatever the rule, and unrolled with OpenCV's fixed-point bilinear.
    """
    first, last = (round(share * len(pixels)) for share in spec.keep_rows)
    kept = pixels[first:last]
    if spec.polar:
        size = (spec.height_px, spec.width_px)
        return unroll_as_authors(kept, *size, how="fast" if fast else "exact").astype(np.uint8)
    return resize_view(kept, (spec.height_px, spec.width_px), "area" if fast else spec.resize)


def count_needed_px(spec: ViewSpec) -> tuple[int, int]:
    """Least rows and columns of a file that :func:`make_whole_view` only has to shrink."""
    first, last = spec.keep_rows
    if spec.polar:
        return 2 * spec.height_px, 2 * spec.height_px
    return math.ceil(spec.height_px / (last - first)), spec.width_px


def resize_view(pixels: U8, size: tuple[int, int], rule: Resize) -> U8:
    """Resize ``pixels`` [H, W, 3] to [h, w, 3] with ``size`` = (h, w).

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
    method = cv2.INTER_LINEAR_EXACT
    if rule == "area":
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    view = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=method)
    return np.asarray(view, dtype=np.uint8)


@lru_cache(maxsize=16)
def compute_polar_directions(height: int, width: int) -> tuple[F32, F32]:
    """(right, down) [height, width] of every polar pixel, in units of the circle's radius.

    Pixel centres: column c looks at azimuth 360 (c + 0.5) / width - 180 degrees, clockwise from
    up; row r lies at (height - r - 0.5) / height of the radius.
    """
    azimuth = 2.0 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    radius = (height - np.arange(height) - 0.5)[:, None] / height
    right, down = radius * np.sin(azimuth), -radius * np.cos(azimuth)
    return right.astype(np.float32), down.astype(np.float32)


def _unroll(pixels: U8, side_px: float, spec: ViewSpec) -> U8:
    """Unroll about the exact centre; a much finer source is averaged first."""
    import cv2

    height, width = pixels.shape[:2]
    times = max(1, int(side_px / (2 * spec.height_px) + 0.3))  # source pixels per radial step
    if times > 1:
        small = (width // times, height // times)
        pixels = pixels[: small[1] * times, : small[0] * times]
        pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
    centre = (width / 2.0 / times, height / 2.0 / times)
    maps = _build_maps(centre, round(side_px / times / 2.0 * _STEPS_PER_PX), spec)
    view = cv2.remap(
        np.ascontiguousarray(pixels), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(view, dtype=np.uint8)


@lru_cache(maxsize=256)
def _build_maps(centre: tuple[float, float], radius: int, spec: ViewSpec) -> tuple[Any, Any]:
    """Fixed-point maps for ``cv2.remap`` about ``centre`` (x, y); ``radius`` in 1/32 pixels."""
    import cv2

    right, down = compute_polar_directions(spec.height_px, spec.width_px)
    reach = np.float32(radius / _STEPS_PER_PX)
    column = np.float32(centre[0] - 0.5) + reach * right
    row = np.float32(centre[1] - 0.5) + reach * down
    maps: tuple[Any, Any] = cv2.convertMaps(column, row, cv2.CV_16SC2)
    return maps


def _cut_middle(pixels: U8, side: int) -> U8:
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def unroll_as_authors(
    pixels: U8, height: int, width: int, *, how: Literal["exact", "fast"] = "exact"
) -> F32 | U8:
    """Unroll a square aerial image [S, S, C] to the authors' polar image [height, width, C].

    "exact": float32, their bilinear sum; samples beyond the image count as 0. Truncated to uint8 it
    is what GeoDTR stores. "fast": uint8, OpenCV's fixed-point bilinear, which differs by 0.5 of 255
    on average and takes 1/20 of the time.
    """
    if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1]:
        raise InvalidValue(
            f"the polar transform takes a square [S, S, C], got {list(pixels.shape)}."
        )
    if how == "fast":
        return _unroll_fast(pixels, height, width)
    return _sample_bilinear(pixels, *compute_authors_positions(pixels.shape[0], height, width))


def compute_authors_positions(side: int, height: int, width: int) -> tuple[F64, F64]:
    """(rows, columns) [height, width] in the source, as array indices, of the authors' transform.

    Row i, column j: radius (side / 2) (height - 1 - i) / height, angle 2 pi j / width.
    """
    radius = side / 2.0 * (height - 1 - np.arange(height, dtype=np.float64))[:, None] / height
    angle = 2.0 * np.pi * np.arange(width, dtype=np.float64) / width
    return side / 2.0 + radius * np.cos(angle), side / 2.0 - radius * np.sin(angle)


def _sample_bilinear(pixels: U8, rows: F64, columns: F64) -> F32:
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


def _unroll_fast(pixels: U8, height: int, width: int) -> U8:
    import cv2

    maps = _build_authors_maps(len(pixels), height, width)
    view = cv2.remap(np.ascontiguousarray(pixels), *maps, cv2.INTER_LINEAR)
    return np.asarray(view, dtype=np.uint8)


@lru_cache(maxsize=8)
def _build_authors_maps(side: int, height: int, width: int) -> tuple[Any, Any]:
    import cv2

    rows, columns = compute_authors_positions(side, height, width)
    maps: tuple[Any, Any] = cv2.convertMaps(
        columns.astype(np.float32), rows.astype(np.float32), cv2.CV_16SC2
    )
    return maps
