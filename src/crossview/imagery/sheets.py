"""Sheets: pixels that lie on one grid, however they are stored; neighbours become one sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from crossview.arrays import I64, U8
from crossview.geo.grids import RasterGrid
from crossview.geo.points import label_components

ALIKE_PX = 0.25  # how far pixel sizes may add up to over a whole piece and still count as equal


class Box(NamedTuple):
    """Pixels [top, bottom) x [left, right) of a grid."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def overlap(self, other: Box) -> Box | None:
        """What both boxes hold, or None."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Box(top, bottom, left, right) if top < bottom and left < right else None

    def shift_to(self, origin: Box) -> Box:
        """The same pixels counted from the upper left corner of ``origin``."""
        top, left = origin.top, origin.left
        return Box(self.top - top, self.bottom - top, self.left - left, self.right - left)

    def cut(self, array: U8) -> U8:
        """The box's part of an array [H, W, ...], as a view."""
        return array[self.top : self.bottom, self.left : self.right]


class Patch(NamedTuple):
    """RGB pixels [h, w, 3], and where they are data: [h, w], 255 or 0; None means everywhere."""

    pixels: U8
    valid: U8 | None

    def cut(self, box: Box) -> Patch:
        """A part, as a view."""
        valid = None if self.valid is None else box.cut(self.valid)
        return Patch(box.cut(self.pixels), valid)


class Store(Protocol):
    """Where a sheet's pixels come from."""

    @property
    def block_px(self) -> tuple[int, int]:
        """Rows and columns that are decoded together; reading whole blocks decodes each once."""

    def read(self, box: Box) -> Patch:
        """The pixels of a box within the sheet, full size."""

    def shrunk(self, height_px: int, width_px: int) -> Patch:
        """The whole sheet in fewer pixels."""


@dataclass(frozen=True)
class Sheet:
    """A grid and the store of its pixels. ``box`` of a sheet begins at (0, 0)."""

    name: str
    grid: RasterGrid
    store: Store

    @property
    def box(self) -> Box:
        """All of the sheet's pixels."""
        return Box(0, self.grid.height_px, 0, self.grid.width_px)

    @property
    def metres_per_px(self) -> float:
        """Ground metres per pixel at the sheet's middle (the coarser of its two directions)."""
        return max(self.pixel_sides_m)

    @property
    def pixel_sides_m(self) -> tuple[float, float]:
        """Ground metres of a pixel at the sheet's middle, along rows and across them."""
        ground = self.grid.ground(self.grid.width_px / 2.0, self.grid.height_px / 2.0)
        return float(ground.right_m), float(ground.down_m)


def join_sheets(sheets: Sequence[Sheet]) -> list[Sheet]:
    """Join sheets of one system and pixel size that touch; the others stay as they are.

    Pieces are moved to whole pixels of their neighbours, by half a pixel at most. Sheets that lie
    apart stay apart, so that nobody walks over the empty land between them.
    """
    joined: list[Sheet] = []
    for alike in _group_alike(sheets):
        boxes = np.array([_place_box(alike[0].grid, sheet.grid) for sheet in alike])
        for group in _group_touching(boxes):
            joined.append(_join([alike[i] for i in group], boxes[group]))
    return joined


@dataclass(frozen=True)
class MosaicStore:
    """Pieces found by box; where they overlap, the one found last lies on top."""

    box: Box
    block_px: tuple[int, int]
    pieces_in: Callable[[Box], Iterable[Piece]]

    def read(self, box: Box) -> Patch:
        """See :class:`Store`."""
        canvas = _Canvas(box.height, box.width)
        for piece in self.pieces_in(box):
            if part := piece.box.overlap(box):
                canvas.paste(part.shift_to(box), piece.store.read(part.shift_to(piece.box)))
        return canvas.patch()

    def shrunk(self, height_px: int, width_px: int) -> Patch:
        """See :class:`Store`."""
        canvas = _Canvas(height_px, width_px)
        down, across = height_px / self.box.height, width_px / self.box.width
        for piece in self.pieces_in(self.box):
            top, bottom, left, right = piece.box
            small = Box(
                *_scale_interval(top, bottom, down, height_px),
                *_scale_interval(left, right, across, width_px),
            )
            canvas.paste(small, piece.store.shrunk(small.height, small.width))
        return canvas.patch()


@dataclass(frozen=True)
class Piece:
    """A store and the box it fills on the mosaic's grid."""

    box: Box
    store: Store


def shrink_patch(patch: Patch, height_px: int, width_px: int) -> Patch:
    """A patch in fewer pixels, each the mean of those it replaces."""
    import cv2

    size = (width_px, height_px)
    pixels: U8 = np.asarray(cv2.resize(patch.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if patch.valid is None:
        return Patch(pixels, None)
    valid = cv2.resize(patch.valid, size, interpolation=cv2.INTER_NEAREST)
    return Patch(pixels, np.asarray(valid, np.uint8))


class _Canvas:
    """A patch in the making: no data until something is pasted."""

    def __init__(self, height_px: int, width_px: int) -> None:
        self._pixels = np.zeros((height_px, width_px, 3), np.uint8)
        self._valid = np.zeros((height_px, width_px), np.uint8)

    def paste(self, box: Box, patch: Patch) -> None:
        pixels, valid = box.cut(self._pixels), box.cut(self._valid)
        if patch.valid is None:
            pixels[:], valid[:] = patch.pixels, 255
        else:
            data = patch.valid > 0
            pixels[data], valid[data] = patch.pixels[data], 255

    def patch(self) -> Patch:
        return Patch(self._pixels, None if self._valid.all() else self._valid)


def _group_alike(sheets: Sequence[Sheet]) -> list[list[Sheet]]:
    """Groups of one coordinate system and pixel size, in the given order."""
    groups: list[list[Sheet]] = []
    for sheet in sheets:
        for group in groups:
            if _have_same_pixels(group[0].grid, sheet.grid):
                group.append(sheet)
                break
        else:
            groups.append([sheet])
    return groups


def _have_same_pixels(one: RasterGrid, other: RasterGrid) -> bool:
    if one.crs != other.crs:
        return False
    (a, b, _, d, e, _), (a2, b2, _, d2, e2, _) = one.transform, other.transform
    longest = max(one.width_px, one.height_px, other.width_px, other.height_px)
    apart = max(abs(a - a2), abs(b - b2), abs(d - d2), abs(e - e2)) * longest
    return apart <= ALIKE_PX * float(np.hypot(a, d))


def _group_touching(boxes: I64) -> list[list[int]]:
    """Groups of boxes [n, 4] that overlap or touch, directly or through others."""

    def neighbours(member: int) -> Iterable[int]:
        top, bottom, left, right = boxes[member]
        near = (boxes[:, 0] <= bottom) & (boxes[:, 1] >= top)
        near &= (boxes[:, 2] <= right) & (boxes[:, 3] >= left)
        return np.flatnonzero(near).tolist()

    labels = label_components(len(boxes), neighbours)
    return [np.flatnonzero(labels == group).tolist() for group in range(labels.max() + 1)]


def _place_box(grid: RasterGrid, other: RasterGrid) -> Box:
    """Where ``other`` lies on ``grid``, to the nearest pixel."""
    a, b, c, d, e, f = grid.transform
    x, y = other.transform[2] - c, other.transform[5] - f
    determinant = a * e - b * d
    left, top = round((e * x - b * y) / determinant), round((a * y - d * x) / determinant)
    return Box(top, top + other.height_px, left, left + other.width_px)


def _join(sheets: list[Sheet], boxes: I64) -> Sheet:
    if len(sheets) == 1:
        return sheets[0]
    top, bottom = int(boxes[:, 0].min()), int(boxes[:, 1].max())
    left, right = int(boxes[:, 2].min()), int(boxes[:, 3].max())
    whole = Box(top, bottom, left, right)
    first_top, _, first_left, _ = (int(edge) for edge in boxes[0])
    grid = sheets[0].grid.crop(left - first_left, top - first_top, whole.width, whole.height)
    own = [Box(*(int(edge) for edge in box)).shift_to(whole) for box in boxes]
    pieces = [Piece(box, sheet.store) for box, sheet in zip(own, sheets, strict=True)]
    edges = np.array(own)

    def pieces_in(box: Box) -> Iterable[Piece]:
        hit = (edges[:, 0] < box.bottom) & (edges[:, 1] > box.top)
        hit &= (edges[:, 2] < box.right) & (edges[:, 3] > box.left)
        return [pieces[i] for i in np.flatnonzero(hit)]

    block = sheets[0].store.block_px
    name = f"{sheets[0].name} and {len(sheets) - 1} more"
    return Sheet(name, grid, MosaicStore(whole.shift_to(whole), block, pieces_in))


def _scale_interval(start: int, stop: int, times: float, limit: int) -> tuple[int, int]:
    """An interval in fewer pixels, at least one of them."""
    first = min(round(start * times), limit - 1)
    return first, min(max(round(stop * times), first + 1), limit)
