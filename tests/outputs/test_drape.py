"""Imagery lies where it belongs on a Web Mercator canvas."""

import numpy as np
import pytest
from tests.imagery.georeferenced import draw_positions, geotiff, read_position
from tests.index.regions import meadow

from crossview.geo.mercator import Extent
from crossview.imagery.sources import open_sources
from crossview.outputs import map_layers


def draped(path, box, size_px):
    with open_sources([path]) as imagery:
        return map_layers.drape(imagery.sheets, box, size_px), imagery.sheets[0].grid


@pytest.mark.parametrize("limit", [64_000_000, 10])
def test_each_canvas_pixel_shows_the_ground_below_it(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(map_layers, "_MOST_SOURCE_PIXELS", limit)  # 10: block by block
    monkeypatch.setattr(map_layers, "_BLOCK_PX", 100)
    path = geotiff(tmp_path / "t.tif", draw_positions(400, 500))
    with open_sources([path]) as imagery:
        south, west, north, east = imagery.info.bounds
    box = Extent(south, west, north, east)
    width, height = (round(side / 0.5) for side in box.size_m())
    canvas, grid = draped(path, box, (width, height))
    for column, row in [(60, 50), (250, 200), (430, 333)]:
        lat, lon = box.places(np.array(column + 0.5), np.array(row + 0.5), (width, height))
        expected = [float(v) for v in grid.pixel(lat, lon)]
        assert canvas[row, column, 3] == 255
        assert read_position(canvas[row, column, :3]) == pytest.approx(expected, abs=1.6)


def test_beyond_the_imagery_and_where_it_has_no_data_the_canvas_is_transparent(tmp_path):
    mask = np.full((400, 500), 255, np.uint8)
    mask[:, :250] = 0
    path = geotiff(tmp_path / "t.tif", meadow(), mask=mask)
    with open_sources([path]) as imagery:
        south, west, north, east = imagery.info.bounds
    wide = Extent(south, west, north, east + (east - west))
    alpha = draped(path, wide, (800, 320))[0][..., 3]
    assert alpha[160, 100] == 0
    assert alpha[160, 300] == 255
    assert alpha[160, 700] == 0
