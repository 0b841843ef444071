"""Borders of one colour that no mask declares: collars around imagery, which are no ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from crossview.arrays import U8, Bool
from crossview.imagery.sheets import Box, Patch, Sheet

LEAST_SHARE = 0.01  # of a sheet's pixels: smaller borders spoil no window
MOST_SHEETS = 16  # looked at, spread over all
_CORNER_PX = 16  # of one colour: then more is read
_SAMPLE_PX = 512  # the longer side of the small picture that shares are measured on


class Border(NamedTuple):
    """A border: its colour, and the share of the sheet that it takes."""

    sheet: str
    colour: tuple[int, int, int]
    share: float

    def __str__(self) -> str:
        red, green, blue = self.colour
        one = f"{red}" if red == green == blue else f"{red},{green},{blue}"
        return (
            f"{self.sheet} has a border of the colour {red},{green},{blue} over "
            f"{100.0 * self.share:.0f} % of it, which is indexed like ground; if it is no data: "
            f"--nodata {one}"
        )


def borders(sheets: Sequence[Sheet]) -> list[Border]:
    """Undeclared borders of up to ``MOST_SHEETS`` sheets; of most others only corners are read."""
    chosen = sheets[:: max(1, -(-len(sheets) // MOST_SHEETS))]
    found = (_border(sheet) for sheet in chosen)
    return [border for border in found if border is not None]


def _border(sheet: Sheet) -> Border | None:
    colours = list(dict.fromkeys(_corner_colours(sheet)))
    if not colours:
        return None
    height, width = sheet.box.height, sheet.box.width
    less = min(1.0, _SAMPLE_PX / max(height, width))
    small = sheet.store.shrunk(max(1, round(height * less)), max(1, round(width * less)))
    shares = [(_share_from_corners(small, colour), colour) for colour in colours]
    share, colour = max(shares)
    return Border(sheet.name, colour, share) if share >= LEAST_SHARE else None


def _corner_colours(sheet: Sheet) -> Iterator[tuple[int, int, int]]:
    """The colours of corners that are of one colour, and data."""
    side = min(_CORNER_PX, sheet.box.height, sheet.box.width)
    for top in (0, sheet.box.height - side):
        for left in (0, sheet.box.width - side):
            patch = sheet.store.read(Box(top, top + side, left, left + side))
            if patch.valid is not None and not patch.valid.all():
                continue
            first = patch.pixels[0, 0]
            if (patch.pixels == first).all():
                yield int(first[0]), int(first[1]), int(first[2])


def _share_from_corners(patch: Patch, colour: tuple[int, int, int]) -> float:
    """Share of a picture that has a colour and hangs together with a corner of that colour."""
    import cv2

    same: Bool = (patch.pixels == np.array(colour, np.uint8)).all(axis=-1)
    if patch.valid is not None:
        same &= patch.valid > 0
    mask: U8 = same.astype(np.uint8)
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    corners = np.unique(labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    return float(np.isin(labels, corners[corners > 0]).mean())
