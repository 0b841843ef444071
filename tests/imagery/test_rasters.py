"""Rasters: mosaics, bands, stretches, masks."""

import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.transform import Affine
from tests.imagery.georeferenced import draw_positions, geotiff, info, read_only_sheet

from crossview.errors import InvalidValue
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.sheets import Box
from crossview.imagery.sources import open_sources


def test_rasters_side_by_side_become_one_mosaic(tmp_path):
    paths = [
        geotiff(
            tmp_path / f"{top}-{left}.tif",
            draw_positions(100, 100, top, left),
            transform=Affine(0.5, 0, 391_000 + left / 2, 0, -0.5, 5_820_000 - top / 2),
        )
        for top in (0, 100)
        for left in (0, 100, 200)
    ]
    pixels, valid, sheet = read_only_sheet(*paths)
    assert valid is None
    assert np.array_equal(pixels, draw_positions(200, 300))
    lat, lon = sheet.grid.latlon(0.0, 0.0)
    lon_0, lat_0 = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(391e3, 5.82e6)
    assert measure_distance_m(LatLon(float(lat), float(lon)), LatLon(lat_0, lon_0)) < 1e-3


def test_a_piece_between_pixels_is_moved_by_half_a_pixel_at_most(tmp_path):
    geotiff(tmp_path / "a.tif", draw_positions(100, 100))
    moved = Affine(0.5, 0, 391_050.2, 0, -0.5, 5_820_000.0)
    geotiff(tmp_path / "b.tif", draw_positions(100, 100, 0, 100), transform=moved)
    pixels, _, _ = read_only_sheet(tmp_path)
    assert np.array_equal(pixels, draw_positions(100, 200))


def test_rasters_of_different_systems_stay_sheets_of_their_own(tmp_path):
    geotiff(tmp_path / "a.tif", draw_positions(100, 100))
    other = Affine(0.5, 0, 3_797_000.0, 0, -0.5, 5_828_000.0)
    geotiff(tmp_path / "b.tif", draw_positions(100, 100), crs="EPSG:31467", transform=other)
    with open_sources([tmp_path]) as imagery:
        assert [sheet.name for sheet in imagery.sheets] == ["a.tif", "b.tif"]


def test_sixteen_bit_is_stretched_from_the_2nd_to_the_98th_percentile(tmp_path):
    values = np.arange(100 * 100, dtype=np.uint16).reshape(100, 100) * 5
    path = geotiff(tmp_path / "a.tif", np.dstack([values] * 3))
    pixels, _, _ = read_only_sheet(path)
    low, high = np.percentile(values, [2, 98])
    slow = np.clip((values - low) / (high - low) * 255, 0, 255)
    assert np.abs(pixels[..., 0] - slow).max() <= 0.6
    assert info(path).stretched == ((low, high),) * 3


def test_files_side_by_side_share_a_stretch_that_all_have_their_part_in(tmp_path):
    for n in range(20):
        values = np.full((30, 30, 3), 1000 + 100 * n, np.uint16)
        east = Affine(0.5, 0, 391_000 + 15 * n, 0, -0.5, 5_820_000.0)
        geotiff(tmp_path / f"{n:02}.tif", values, transform=east)
    ((low, high), *_) = info(tmp_path).stretched
    assert low < 1100
    assert high > 2700


@pytest.mark.parametrize(("finer", "sheets"), [(1.0, 1), (0.9998, 1), (0.998, 2)])
def test_pixels_that_add_up_to_more_than_a_quarter_of_one_are_of_two_mosaics(
    tmp_path, finer, sheets
):
    """Over 400 pixels: 0.08 and 0.8 of a pixel."""
    geotiff(tmp_path / "a.tif", draw_positions(400, 400))
    beside = Affine(0.5 * finer, 0, 391_200.0, 0, -0.5 * finer, 5_820_000.0)
    geotiff(tmp_path / "b.tif", draw_positions(400, 400), transform=beside)
    with open_sources([tmp_path]) as imagery:
        assert len(imagery.sheets) == sheets


def test_bands_can_be_chosen_and_float_and_no_data_are_understood(tmp_path):
    bands = np.random.default_rng(0).uniform(0.0, 0.4, (60, 60, 5)).astype(np.float32)
    bands[:10] = np.nan
    path = geotiff(tmp_path / "a.tif", bands)
    pixels, valid, _ = read_only_sheet(path, bands=(4, 3, 2), stretch=(0.0, 100.0))
    assert (valid[:10] == 0).all()
    assert (valid[10:] == 255).all()
    red = bands[10:, :, 3]
    slow = (red - red.min()) / (red.max() - red.min()) * 255
    assert np.abs(pixels[10:, :, 0] - slow).max() <= 0.6


@pytest.mark.parametrize("bands", [(1, 2), (0, 1, 2), (4, 3, 2)])
def test_bands_that_are_not_there_are_refused(tmp_path, bands):
    with pytest.raises(InvalidValue, match="bands 1 to 3"):
        read_only_sheet(geotiff(tmp_path / "a.tif", draw_positions(60, 60)), bands=bands)


def test_one_band_is_grey(tmp_path):
    pixels, _, _ = read_only_sheet(geotiff(tmp_path / "a.tif", draw_positions(60, 60)[..., 0]))
    assert (pixels == draw_positions(60, 60)[..., :1]).all()


def test_a_palette_is_looked_up(tmp_path):
    path = tmp_path / "a.tif"
    shape = {"height": 40, "width": 40, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    place = Affine(0.5, 0, 391e3, 0, -0.5, 5.82e6)
    with rasterio.open(path, "w", driver="GTiff", transform=place, **shape) as raster:
        raster.write(np.full((1, 40, 40), 7, np.uint8))
        raster.write_colormap(1, {7: (10, 20, 30, 255)})
    assert (read_only_sheet(path)[0] == (10, 20, 30)).all()


def test_an_alpha_band_is_no_colour_but_a_mask(tmp_path):
    alpha = np.where(np.arange(60) < 20, 0, 255).astype(np.uint8)
    pixels = np.dstack([draw_positions(60, 60), np.tile(alpha, (60, 1))])
    path = geotiff(tmp_path / "a.tif", pixels, photometric="RGB", alpha="YES")
    found, valid, _ = read_only_sheet(path)
    assert np.array_equal(found[:, 20:], draw_positions(60, 60)[:, 20:])
    assert np.array_equal(valid, pixels[..., 3])


def test_much_finer_imagery_is_averaged_while_reading(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(90, 120))
    pixels, _, sheet = read_only_sheet(path, finest_useful_m=1.6)
    slow = draw_positions(90, 120).reshape(30, 3, 40, 3, 3).mean(axis=(1, 3))
    assert np.abs(pixels - slow).max() <= 1.0
    assert sheet.metres_per_px == pytest.approx(1.5, rel=1e-3)
    assert np.array_equal(sheet.store.read(Box(10, 20, 5, 40)).pixels, pixels[10:20, 5:40])


def test_jpeg_2000_is_read(tmp_path):
    shape = {"height": 64, "width": 64, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    place = Affine(0.5, 0, 391e3, 0, -0.5, 5.82e6)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"}
    with rasterio.open(
        tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", transform=place, **shape, **lossless
    ) as raster:
        raster.write(np.moveaxis(draw_positions(64, 64), -1, 0))
    pixels, _, sheet = read_only_sheet(tmp_path / "a.jp2")
    assert np.array_equal(pixels, draw_positions(64, 64))
    assert sheet.metres_per_px == pytest.approx(0.5, rel=1e-3)
