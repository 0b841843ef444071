"""The overview in Web Mercator: right place, right size, and honest about its scale."""

import cv2
import numpy as np
import pytest
from rasterio.transform import Affine
from tests.imagery.made import BERLIN, geotiff, info, telling, tiles_around, whole, xyz_folder

from crossview.errors import BadImagery
from crossview.geo.mercator import xy_from_latlon
from crossview.geo.points import LatLon
from crossview.imagery.overviews import overview


def pixel_at(view, lat, lon):
    """The overview's colour at a place, looked up as a web map lays it out."""
    left, bottom = xy_from_latlon(LatLon(view.south, view.west))
    right, top = xy_from_latlon(LatLon(view.north, view.east))
    x, y = xy_from_latlon(LatLon(lat, lon))
    height, width = view.pixels.shape[:2]
    row, column = (top - y) / (top - bottom) * height, (x - left) / (right - left) * width
    return view.pixels[int(row), int(column)]


def quarters(height=200, width=240):
    """Red, green, blue, white, clockwise from the upper left."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255, 0, 0
    pixels[: height // 2, width // 2 :] = 0, 255, 0
    pixels[height // 2 :, width // 2 :] = 0, 0, 255
    pixels[height // 2 :, : width // 2] = 255, 255, 255
    return pixels


@pytest.mark.parametrize("max_px", [60, 2048])
@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_colours_lie_where_the_raster_has_them(tmp_path, max_px, angle):
    cos, sin = 0.5 * np.cos(np.radians(angle)), 0.5 * np.sin(np.radians(angle))
    turned = Affine(cos, -sin, 391_000.0, -sin, -cos, 5_820_000.0)
    path = geotiff(tmp_path / "a.tif", quarters(), transform=turned)
    view = overview([path], max_px)
    assert max(view.pixels.shape) <= max_px
    grid_places = {(60, 50): (255, 0, 0), (180, 50): (0, 255, 0), (180, 150): (0, 0, 255)}
    grid = whole(path)[2].grid
    for (column, row), colour in grid_places.items():
        lat, lon = grid.latlon(column, row)
        assert np.abs(pixel_at(view, float(lat), float(lon)).astype(int) - colour).max() <= 8


def test_it_says_how_much_coarser_it_is(tmp_path):
    path = geotiff(tmp_path / "a.tif", quarters())
    assert overview([path], 2048).downsampled == pytest.approx(1.0)
    assert overview([path], 60).downsampled == pytest.approx(240 / 60, rel=0.05)


def test_where_there_is_no_imagery_it_is_not_valid(tmp_path):
    mask = np.full((200, 240), 255, np.uint8)
    mask[:, 120:] = 0
    view = overview([geotiff(tmp_path / "a.tif", quarters(), mask=mask)])
    assert (view.valid > 0).mean() == pytest.approx(0.5, abs=0.04)
    assert not view.pixels[view.valid == 0].any()


def test_tiles_and_far_images_fit_on_one_overview(tmp_path):
    tiles, _ = tiles_around(BERLIN, 18, 2)
    xyz_folder(tmp_path / "tiles", tiles, 18)
    cv2.imwrite(str(tmp_path / "a.png"), telling(80, 80))
    (tmp_path / "a.csv").write_text("file,lat,lon,metres_per_px\na.png,52.53,13.42,0.5\n")
    view = overview([tmp_path / "tiles", tmp_path / "a.csv"], 500)
    assert pixel_at(view, 52.53, 13.42).any()
    assert pixel_at(view, *(float(v) for v in tiles_around(BERLIN, 18, 2)[1].latlon(60, 60))).any()


def test_an_index_can_be_shown_from_what_it_remembers(tmp_path):
    path = geotiff(tmp_path / "a.tif", quarters(), tags={"TIFFTAG_COPYRIGHT": "(c) City"})
    remembered = info(path)
    assert overview(remembered, 100).attribution == "(c) City"
    path.unlink()
    with pytest.raises(BadImagery, match=r"There is no .*a\.tif"):
        overview(remembered, 100)
