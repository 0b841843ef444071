"""Rows of a sheet in memory: a band that moves down and reads each stored block once."""

from __future__ import annotations

import numpy as np

from crossview.imagery.sheets import Box, Patch, Sheet

CHUNK_ROWS = 256  # rows read at a time, at least; whole stored blocks in any case


class Rows:
    """Columns [left, right) of a sheet, read from the top in chunks of whole blocks."""

    def __init__(self, sheet: Sheet, left: int, right: int) -> None:
        self._sheet, self._left, self._right = sheet, left, right
        block = sheet.store.block_px[0]
        self._chunk = block * -(-CHUNK_ROWS // block)
        self._top = self._bottom = 0
        self._patch: Patch | None = None

    def read(self, top: int, bottom: int) -> Patch:
        """Rows [top, bottom) as views; ``top`` must not move up between calls."""
        if self._patch is None or top >= self._bottom:
            self._patch, self._top = None, top - top % self._chunk
            self._bottom = self._top
        if bottom > self._bottom:
            self._extend(top, min(-(-bottom // self._chunk) * self._chunk, self._sheet.box.bottom))
        return self._held().cut(Box(top - self._top, bottom - self._top, 0, self._width))

    @property
    def _width(self) -> int:
        return self._right - self._left

    def _held(self) -> Patch:
        return self._patch or Patch(np.empty((0, self._width, 3), np.uint8), None)

    def _extend(self, top: int, bottom: int) -> None:
        """Forget rows above ``top`` and read on to ``bottom``."""
        new = self._sheet.store.read(Box(self._bottom, bottom, self._left, self._right))
        if self._patch is not None:
            kept = Box(top - self._top, self._bottom - self._top, 0, self._width)
            self._patch, self._top = _stacked(self._patch.cut(kept), new), top
        else:
            self._patch = new
        self._bottom = bottom


def _stacked(above: Patch, below: Patch) -> Patch:
    pixels = np.concatenate([above.pixels, below.pixels])
    if above.valid is None and below.valid is None:
        return Patch(pixels, None)
    parts = [
        np.full(patch.pixels.shape[:2], 255, np.uint8) if patch.valid is None else patch.valid
        for patch in (above, below)
    ]
    return Patch(pixels, np.concatenate(parts))
