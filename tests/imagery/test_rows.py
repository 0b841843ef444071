"""Rows in memory: whole blocks, each read once, however the windows overlap."""

import numpy as np
from tests.imagery.made import telling

from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon
from crossview.imagery.sheets import Box, Patch, Sheet
from crossview.imagery.windows import RowBuffer


class Counted:
    """A store of telling pixels that remembers what was read; no data below row 1200."""

    block_px = (100, 100)

    def __init__(self):
        self.boxes = []

    def read(self, box):
        self.boxes.append(box)
        valid = np.full((box.height, box.width), 255, np.uint8)
        valid[max(0, 1200 - box.top) :] = 0
        pixels = telling(box.height, box.width, box.top, box.left)
        return Patch(pixels, None if valid.all() else valid)


def band():
    store = Counted()
    grid = RasterGrid.around(LatLon(52.5, 13.4), 0.5, (400, 1450))
    return store, RowBuffer(Sheet("counted", grid, store), 50, 350)


def test_overlapping_rows_are_right_and_read_once():
    store, rows = band()
    for top in range(0, 1450 - 160, 40):
        pixels, valid = rows.read(top, top + 160)
        assert np.array_equal(pixels, telling(160, 300, top, 50))
        slow = np.arange(top, top + 160) < 1200
        assert np.array_equal(valid[:, 0] > 0 if valid is not None else np.ones(160, bool), slow)
    assert store.boxes == [Box(top, min(top + 300, 1450), 50, 350) for top in range(0, 1450, 300)]


def test_rows_that_nobody_asks_for_are_not_read():
    store, rows = band()
    rows.read(0, 160)
    assert np.array_equal(rows.read(1000, 1160).pixels, telling(160, 300, 1000, 50))
    assert store.boxes == [Box(0, 300, 50, 350), Box(900, 1200, 50, 350)]
