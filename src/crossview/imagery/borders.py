"""Borders of one colour that no mask declares: collars around imagery, which show no ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from crossview.arrays import U8, Bool
from crossview.imagery.rasters import RasterStore
from crossview.imagery.sheets import Box, Patch, Sheet

LEAST_SHARE = 0.01  # of a sheet's pixels: smaller borders spoil no window
MOST_SHEETS = 16  # that are read, spread over all
_CORNER_PX = 16  # of one colour: then more is read
_SAMPLE_PX = 512  # the longer side of the small picture that shares are measured on


class Border(NamedTuple):
    """A border: its colour, what the file stores there, and the share of the sheet it takes."""

    sheet: str
    colour: tuple[int, int, int]
    stored: tuple[float, ...]  # per band that is read
    share: float

    def __str__(self) -> str:
        red, green, blue = self.colour
        values = [f"{value:.9g}" for value in self.stored]
        stored = values[0] if len(set(values)) == 1 else ",".join(values)
        return (
            f"{self.sheet} has a border of the colour {red},{green},{blue} over "
            f"{100.0 * self.share:.0f} % of it, which is indexed like ground; if it is no data: "
            f"--nodata {stored}"
        )


def find_borders(sheets: Sequence[Sheet]) -> list[Border]:
    """Undeclared borders of up to ``MOST_SHEETS`` sheets; of most others only corners are read."""
    chosen = sheets[:: max(1, -(-len(sheets) // MOST_SHEETS))]
    candidates = (_find_border(sheet) for sheet in chosen)
    return [border for border in candidates if border is not None]


def _find_border(sheet: Sheet) -> Border | None:
    colours = dict(_read_corner_colours(sheet))
    if not colours:
        return None
    height, width = sheet.box.height, sheet.box.width
    less = min(1.0, _SAMPLE_PX / max(height, width))
    small = sheet.store.shrunk(max(1, round(height * less)), max(1, round(width * less)))
    shares = [(_measure_share(small, colour), colour) for colour in colours]
    share, colour = max(shares)
    if share < LEAST_SHARE:
        return None
    return Border(sheet.name, colour, colours[colour], share)


def _read_corner_colours(
    sheet: Sheet,
) -> Iterator[tuple[tuple[int, int, int], tuple[float, ...]]]:
    """Colours and stored values of corners that are of one colour, and data."""
    side = min(_CORNER_PX, sheet.box.height, sheet.box.width)
    for top in (0, sheet.box.height - side):
        for left in (0, sheet.box.width - side):
            box = Box(top, top + side, left, left + side)
            patch = sheet.store.read(box)
            if patch.valid is not None and not patch.valid.all():
                continue
            red, green, blue = (int(value) for value in patch.pixels[0, 0])
            if not (patch.pixels == patch.pixels[0, 0]).all():
                continue
            stored: tuple[float, ...] | None = (red, green, blue)
            if isinstance(sheet.store, RasterStore):
                stored = sheet.store.read_stored_value(box)
            if stored is not None:  # else a stretch made different values one
                yield (red, green, blue), stored


def _measure_share(patch: Patch, colour: tuple[int, int, int]) -> float:
    """Share of a picture that has a colour and hangs together with a corner of that colour."""
    import cv2

    same: Bool = (patch.pixels == np.array(colour, np.uint8)).all(axis=-1)
    if patch.valid is not None:
        same &= patch.valid > 0
    mask: U8 = same.astype(np.uint8)
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    corners = np.unique(labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    return float(np.isin(labels, corners[corners > 0]).mean())
