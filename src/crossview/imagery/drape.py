"""Imagery of any projection draped onto a Web Mercator canvas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from crossview.arrays import F64, U8
from crossview.geo.mercator import Extent
from crossview.imagery.provenance import compute_bounds
from crossview.imagery.sheets import Box, Patch, Sheet, shrink_patch

_KNOTS_PX = 32  # between exact reprojections; coordinates in between are interpolated
_MOST_SOURCE_PIXELS = 64_000_000  # in memory at once; larger sheets are read block by block
_FEW_SOURCE_PIXELS = 4_000_000  # if so few lie under the canvas, only these are read, at full size
_BLOCK_PX = 512
_NO_SHRINK = 1.05
_OPAQUE = 254


def drape(sheets: Sequence[Sheet], extent: Extent, size_px: tuple[int, int]) -> U8:
    """All sheets that touch ``extent``, later ones on top: RGBA [H, W, 4].

    ``size_px`` is (width, height). Where there is no data the canvas stays transparent.
    """
    width, height = size_px
    canvas = np.zeros((height, width, 4), np.uint8)
    for sheet in sheets:
        for box in _find_canvas_boxes(sheet, extent, size_px):
            if part := box.overlap(Box(0, height, 0, width)):
                _drape_sheet(sheet, extent, canvas, part)
    return canvas


def _find_canvas_boxes(sheet: Sheet, extent: Extent, size_px: tuple[int, int]) -> Iterator[Box]:
    """The canvas pixels that a sheet may touch, counted once per turn around the Earth."""
    south, west, north, east = compute_bounds([sheet])
    (left, top), (_, bottom) = extent.pixel(
        np.array([north, south]), np.array([west, west]), size_px
    )
    per_degree = size_px[0] / (extent.east - extent.west)
    right = left + (east - west if west <= east else east - west + 360.0) * per_degree
    for turn in (-360.0 * per_degree, 0.0, 360.0 * per_degree):
        yield Box(math.floor(top), math.ceil(bottom), math.floor(left + turn),
                  math.ceil(right + turn))  # fmt: skip


def _drape_sheet(sheet: Sheet, extent: Extent, canvas: U8, part: Box) -> None:
    """Draw one sheet, which is read in one of three ways.

    Only what lies under the canvas, if that is small; else the whole sheet in fewer pixels; if
    these are still too many, block by block.
    """
    size_px = (canvas.shape[1], canvas.shape[0])
    x, y = _project_pixels(sheet, extent, size_px, part)
    if part.width > 1:
        steps = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    else:
        beside = Box(part.top, part.bottom, part.left + 1, part.right + 1)
        x_beside, y_beside = _project_pixels(sheet, extent, size_px, beside)
        steps = np.hypot(x_beside - x, y_beside - y)
    shrink = max(1.0, float(np.median(steps)))
    crop = _enclose(x, y).overlap(sheet.box)
    if crop is not None and crop.width * crop.height <= _FEW_SOURCE_PIXELS:
        _Source.part(sheet, crop, shrink).sample(x, y, part.cut(canvas))
        return
    if sheet.box.width * sheet.box.height / shrink**2 <= _MOST_SOURCE_PIXELS:
        source = _Source.whole(sheet, shrink)
        source.sample(x, y, part.cut(canvas))
        return
    for block in _split_blocks(part):
        x, y = _project_pixels(sheet, extent, size_px, block)
        if crop := _enclose(x, y).overlap(sheet.box):
            _Source.part(sheet, crop, shrink).sample(x, y, block.cut(canvas))


def _project_pixels(
    sheet: Sheet, extent: Extent, size_px: tuple[int, int], part: Box
) -> tuple[F64, F64]:
    """Continuous columns and rows [h, w] of the sheet under the pixel centres of a part."""
    columns = np.linspace(part.left, part.right, part.width // _KNOTS_PX + 2)
    rows = np.linspace(part.top, part.bottom, part.height // _KNOTS_PX + 2)
    places = extent.places(*np.meshgrid(columns, rows), size_px)
    column, row = sheet.grid.pixel(*places)
    return _interpolate(column, part), _interpolate(row, part)


def _split_blocks(part: Box) -> Iterator[Box]:
    for top in range(part.top, part.bottom, _BLOCK_PX):
        for left in range(part.left, part.right, _BLOCK_PX):
            bottom, right = min(top + _BLOCK_PX, part.bottom), min(left + _BLOCK_PX, part.right)
            yield Box(top, bottom, left, right)


def _enclose(x: F64, y: F64) -> Box:
    return Box(
        math.floor(y.min()) - 1, math.ceil(y.max()) + 1,
        math.floor(x.min()) - 1, math.ceil(x.max()) + 1,
    )  # fmt: skip


class _Source(NamedTuple):
    """Pixels of a sheet, and the box of the sheet that they show."""

    patch: Patch
    box: Box

    @staticmethod
    def whole(sheet: Sheet, shrink: float) -> _Source:
        if shrink < _NO_SHRINK:
            return _Source(sheet.store.read(sheet.box), sheet.box)
        return _Source(sheet.store.shrunk(*_shrink_shape(sheet.box, shrink)), sheet.box)

    @staticmethod
    def part(sheet: Sheet, crop: Box, shrink: float) -> _Source:
        patch = sheet.store.read(crop)
        if shrink >= _NO_SHRINK:
            patch = shrink_patch(patch, *_shrink_shape(crop, shrink))
        return _Source(patch, crop)

    def sample(self, x: F64, y: F64, canvas: U8) -> None:
        """Fill canvas [h, w, 4] with the pixels at the sheet's coordinates x, y [h, w]."""
        import cv2

        pixels, valid = self.patch
        height, width = pixels.shape[:2]
        alpha = np.full((height, width), 255, np.uint8) if valid is None else valid
        drawn = cv2.remap(
            np.dstack([pixels, alpha]),
            ((x - self.box.left) * (width / self.box.width) - 0.5).astype(np.float32),
            ((y - self.box.top) * (height / self.box.height) - 0.5).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        opaque = drawn[..., 3] >= _OPAQUE
        canvas[opaque] = drawn[opaque]


def _shrink_shape(box: Box, shrink: float) -> tuple[int, int]:
    """Height and width of a box in pixels that are ``shrink`` times larger."""
    return max(1, round(box.height / shrink)), max(1, round(box.width / shrink))


def _interpolate(knots: F64, part: Box) -> F64:
    """Bilinear values [h, w] at the part's pixel centres from values [m, n] at its knots."""
    across = (np.arange(part.width) + 0.5) / part.width * (knots.shape[1] - 1)
    down = (np.arange(part.height) + 0.5) / part.height * (knots.shape[0] - 1)
    left = np.minimum(across.astype(int), knots.shape[1] - 2)
    above = np.minimum(down.astype(int), knots.shape[0] - 2)
    share = across - left
    wide = knots[:, left] * (1.0 - share) + knots[:, left + 1] * share
    share = (down - above)[:, None]
    values: F64 = wide[above] * (1.0 - share) + wide[above + 1] * share
    return values
