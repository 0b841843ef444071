"""Sheet: pixels that lie on one grid, however they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from crossview.arrays import U8
from crossview.geo.grids import RasterGrid


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

    def seen_from(self, origin: Box) -> Box:
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
        ground = self.grid.ground(self.grid.width_px / 2.0, self.grid.height_px / 2.0)
        return max(float(ground.right_m), float(ground.down_m))
