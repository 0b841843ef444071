"""The base map lies where the imagery lies."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine
from tests.imagery.made import geotiff, telling, told
from tests.index.regions import indexed, meadow, region

from crossview.imagery.sources import open_sources
from crossview.outputs import drape
from crossview.outputs import map_layers as basemap
from crossview.outputs.map_layers import draw_base_map
from crossview.outputs.regions import MOST_REGIONS, Extent, enclose_points, split_regions

MB = 1_000_000


def decoded(overlay):
    return np.asarray(Image.open(BytesIO(overlay.webp)).convert("RGBA"))


def draped(path, box, size_px):
    with open_sources([path]) as imagery:
        return drape.drape(imagery.sheets, box, size_px), imagery.sheets[0].grid


@pytest.mark.parametrize("limit", [64_000_000, 10])
def test_each_canvas_pixel_shows_the_ground_below_it(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(drape, "_MOST_SOURCE_PIXELS", limit)  # 10: block by block
    monkeypatch.setattr(drape, "_BLOCK_PX", 100)
    path = geotiff(tmp_path / "t.tif", telling(400, 500))
    with open_sources([path]) as imagery:
        south, west, north, east = imagery.info.bounds
    box = Extent(south, west, north, east)
    width, height = (round(side / 0.5) for side in box.size_m())
    canvas, grid = draped(path, box, (width, height))
    for column, row in [(60, 50), (250, 200), (430, 333)]:
        lat, lon = box.places(np.array(column + 0.5), np.array(row + 0.5), (width, height))
        expected = [float(v) for v in grid.pixel(lat, lon)]
        assert canvas[row, column, 3] == 255
        assert told(canvas[row, column, :3]) == pytest.approx(expected, abs=1.6)


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


def test_the_base_map_is_the_imagery_at_full_resolution_where_that_fits(index):
    base = draw_base_map(index, 10 * MB)
    assert base.notes == []
    assert base.overlays[0].metres_per_px == pytest.approx(0.5, rel=0.01)
    assert decoded(base.overlays[0])[..., 3].mean() > 240


def test_down_sampled_imagery_is_said_with_its_figures(index, monkeypatch):
    monkeypatch.setattr(basemap, "MOST_PIXELS", 100 * 100)
    base = draw_base_map(index, 10 * MB)
    assert re.match(r"Imagery is shown down-sampled: 2\.\d m .* instead of 0\.5\.", *base.notes)


def test_a_small_budget_gives_fewer_pixels(index):
    base = draw_base_map(index, 30_000)
    assert sum(len(o.webp) for o in base.overlays) * 4 / 3 <= 30_000
    assert base.overlays[0].metres_per_px > 0.5


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"II*")])
def test_without_the_imagery_the_map_is_drawn_from_thumbnails(tmp_path, damage):
    index = indexed(tmp_path, stride_m=20.0)
    whole = decoded(draw_base_map(index, 10 * MB).overlays[0])
    damage(tmp_path / "aerial.tif")
    base = draw_base_map(index, 10 * MB)
    assert "could not be read" in base.notes[0]
    alike = Image.fromarray(decoded(base.overlays[0])).resize(whole.shape[1::-1])
    inner = (slice(40, -40), slice(40, -40), slice(0, 3))
    apart = np.abs(np.asarray(alike)[inner].astype(int) - whole[inner]).mean()
    assert apart < 25  # unrelated lumps differ by 85


def test_regions_far_apart_are_drawn_one_by_one(tmp_path):
    near = region(tmp_path, "a.tif")
    far = region(
        tmp_path, "b.tif", seed=1, transform=Affine(0.5, 0, 491_000.0, 0, -0.5, 5_820_000.0)
    )
    index = indexed(tmp_path, paths=[near, far], stride_m=40.0)
    overlays = draw_base_map(index, 10 * MB).overlays
    assert len(overlays) == 2
    assert all(max(overlay.extent.size_m()) < 400 for overlay in overlays)


def test_scattered_points_make_regions_but_never_too_many():
    lat = np.arange(500) * 0.05
    assert len(split_regions(lat[:20], np.zeros(20), 100.0)) == 20
    found = split_regions(lat, np.zeros(500), 100.0)
    assert len(found) <= MOST_REGIONS
    assert sorted(np.concatenate(found).tolist()) == list(range(500))


def test_an_extent_is_measured_on_the_ground_and_maps_both_ways():
    box = enclose_points(np.array([60.0]), np.array([25.0]), reach_m=100.0)
    assert box.size_m() == pytest.approx((200.0, 200.0), rel=0.001)
    column, row = np.array([0.0, 33.0, 100.0]), np.array([0.0, 71.0, 50.0])
    back = box.pixel(*box.places(column, row, (100, 50)), (100, 50))
    np.testing.assert_allclose(back, np.stack([column, row], axis=-1), atol=1e-6)
