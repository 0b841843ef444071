"""A photo as the model sees it: columns and rows of equal angles, whatever camera took it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from crossview.arrays import F32, U8, Bool
from crossview.views.crops import compute_angles, lay_out
from crossview.views.lens import Kind, Lens, find_visible, fit_lens
from crossview.views.spec import ViewSpec

_FINEST = 3  # samples per output pixel, each way, of pictures much finer than the strip


def make_ground_view(
    pixels: U8,
    kind: Kind,
    spec: ViewSpec,
    *,
    fov_deg: float,
    horizon_px: float | None = None,
) -> U8:
    """Make the model's picture [h, w, 3] of a photo or panorama [H, W, 3] of ``fov_deg`` across.

    w is ``spec.width_px`` ("padded") or ``spec.columns(fov_deg)`` ("narrow"). Part of a panorama
    fills the columns that ``views.crops`` keeps of a whole one; a padded perspective photo fills
    the pixels of ``views.crops.compute_visible_mask``. "letterbox" is the picture itself, fitted
    into the canvas, whatever its angles. ``horizon_px`` is the row of the horizon in
    ``pixels`` (default: the middle). Unseen pixels get ``spec.mean_colour``.
    """
    if spec.representation == "letterbox":
        return _fit_into_canvas(pixels, spec)
    height, width = pixels.shape[:2]
    lens = fit_lens(kind, (width, height), fov_deg, horizon_px)
    on_canvas = lens.flat and spec.representation == "padded"
    columns = spec.width_px if on_canvas else spec.columns(fov_deg)
    per_pixel = width / (spec.width_px * fov_deg / 360.0)  # source columns per output column
    fine = int(min(max(per_pixel, 1.0), _FINEST)) if lens.flat else 1
    small = _shrink(pixels, per_pixel / fine)
    sampled = _sample(small, lens, spec, columns, fine)
    seen = _find_seen(lens, spec, columns)
    sampled[~seen] = spec.mean_colour
    return sampled if on_canvas else np.asarray(lay_out(sampled, spec, spec.mean_colour))


def _fit_into_canvas(pixels: U8, spec: ViewSpec) -> U8:
    """Scale a picture [H, W, 3] to fit into the canvas, small ones too; black around it.

    The arithmetic of Fervers et al. (ECCV 2024): sizes truncated, an odd rest below and to the
    right, a Gaussian of half a pixel of scale before bilinear samples, nothing beyond the edges.
    """
    height, width = pixels.shape[:2]
    scale = min(spec.height_px / height, spec.width_px / width) + 1e-6
    size = max(1, int(height * scale)), max(1, int(width * scale))
    fitted = pixels
    if size != (height, width):
        values = _resample_rows(pixels.astype(np.float32), size[0]).swapaxes(0, 1)
        values = _resample_rows(values, size[1]).swapaxes(0, 1)
        fitted = np.clip(values + np.float32(1e-3), 0.0, 255.0).astype(np.uint8)
    canvas = np.zeros((spec.height_px, spec.width_px, 3), np.uint8)
    top, left = (spec.height_px - size[0]) // 2, (spec.width_px - size[1]) // 2
    canvas[top : top + size[0], left : left + size[1]] = fitted
    return canvas


def _resample_rows(values: F32, count: int) -> F32:
    """``count`` rows of float32 [n, m, 3], smoothed where they become fewer; zero outside."""
    import cv2

    rows, columns = values.shape[:2]
    ratio = rows / count
    sigma = max(0.0, (ratio - 1.0) / 2.0)
    flat = np.ascontiguousarray(values).reshape(rows, columns * 3)
    if reach := int(4.0 * sigma + 0.5):
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        flat = cv2.sepFilter2D(
            flat, -1, np.ones(1), kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT
        )
    at = (np.arange(count) + 0.5) * ratio - 0.5
    first = np.floor(at).astype(int)
    share = (at - first).astype(np.float32)[:, None]
    padded = np.concatenate([np.zeros_like(flat[:1]), flat, np.zeros_like(flat[:1])])
    sampled: F32 = padded[first + 1] * (1.0 - share) + padded[first + 2] * share
    return sampled.reshape(count, columns, 3)


@lru_cache(maxsize=32)
def _find_seen(lens: Lens, spec: ViewSpec, columns: int) -> Bool:
    return find_visible(*lens.locate(*compute_angles(spec, columns)))


@lru_cache(maxsize=32)
def _build_maps(
    lens: Lens, spec: ViewSpec, columns: int, fine: int, size: tuple[int, int]
) -> tuple[Any, Any]:
    """Fixed-point maps for ``cv2.remap`` into a picture of ``size`` (width, height)."""
    import cv2

    x, y = lens.locate(*compute_angles(spec, columns, fine))
    width, height = size
    limit = np.float32(4 * max(width, height))  # keeps directions behind the camera in range
    column = np.clip((x + 1.0) * np.float32(width / 2.0) - 0.5, -limit, limit)
    row = np.clip((y + 1.0) * np.float32(height / 2.0) - 0.5, -limit, limit)
    maps: tuple[Any, Any] = cv2.convertMaps(column, row, cv2.CV_16SC2)
    return maps


def _sample(pixels: U8, lens: Lens, spec: ViewSpec, columns: int, fine: int) -> U8:
    """Bilinear samples, ``fine`` x ``fine`` of them averaged per output pixel."""
    import cv2

    height, width = pixels.shape[:2]
    maps = _build_maps(lens, spec, columns, fine, (width, height))
    if not lens.flat and lens.fov_deg == 360.0:
        pixels = cv2.copyMakeBorder(
            pixels, 0, 0, 1, 1, cv2.BORDER_WRAP
        )  # the picture continues across the seam
        maps = (maps[0] + np.array([1, 0], np.int16), maps[1])
    sampled = cv2.remap(pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if fine > 1:
        sampled = cv2.resize(sampled, (columns, spec.height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(sampled, dtype=np.uint8)


def _shrink(pixels: U8, times: float) -> U8:
    """Shrink a picture ``times`` by averaging areas; unchanged if ``times`` is close to 1."""
    import cv2

    if times < 1.05:
        return np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    size = (max(1, round(width / times)), max(1, round(height / times)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
