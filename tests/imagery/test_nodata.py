"""Borders that nothing declares, and the value of no data that the user names."""

import numpy as np
import pytest
import rasterio
from tests.imagery.georeferenced import draw_positions, geotiff, read_only_sheet

from crossview.errors import InvalidValue
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import LEAST_BORDER, find_borders, open_sources
from crossview.imagery.windows import NODATA_SHARE, Tiling, cut_windows


def noise(height=400, width=400, seed=0):
    return np.random.default_rng(seed).integers(1, 255, (height, width, 3), dtype=np.uint8)


def collared(share=0.2, colour=(0, 0, 0)):
    pixels = noise()
    pixels[:, : round(share * 400)] = colour
    return pixels


def borders_of(path, **options):
    with open_sources([path], SourceOptions(**options)) as imagery:
        return find_borders(imagery.parts)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (0, 255, 0)])
def test_a_border_of_one_colour_is_told_with_its_share_and_the_option(tmp_path, colour):
    (border,) = borders_of(geotiff(tmp_path / "a.tif", collared(colour=colour)))
    assert border.share == pytest.approx(0.2)
    value = f"{colour[0]}" if len(set(colour)) == 1 else "0,255,0"
    assert str(border).endswith(f"--nodata {value}")
    assert "20 % of it" in str(border)


def grey(dtype, collar, low=1000, high=3000, **profile):
    """A grey raster of which the left fifth has one value."""
    values = np.random.default_rng(0).integers(low, high, (400, 400)).astype(dtype)
    values[:, :80] = collar
    return values, profile


PALETTE = {value: (value, 255 - value, 7, 255) for value in range(256)}


@pytest.mark.parametrize(
    ("values", "profile", "advice"),
    [
        (*grey("uint16", 65535), "65535"),
        (*grey("int16", -32768), "-32768"),
        (*grey("float32", -9999.0), "-9999"),
        (*grey("uint8", 0, 1, 250, photometric="MINISWHITE"), "0"),
        (*grey("uint8", 15, 0, 15, nbits=4), "15"),
        (*grey("uint8", 9, 10, 250, photometric="PALETTE"), "9"),
    ],
)
def test_the_advice_names_what_the_file_stores_and_works(tmp_path, values, profile, advice):
    path = geotiff(tmp_path / "a.tif", values, **profile)
    if profile.get("photometric") == "PALETTE":
        with rasterio.open(path, "r+") as raster:
            raster.write_colormap(1, PALETTE)
    (border,) = borders_of(path)
    assert str(border).endswith(f"--nodata {advice}")
    assert borders_of(path, nodata=border.stored) == []
    valid = read_only_sheet(path, nodata=border.stored)[1]
    assert (valid == 0).mean() == pytest.approx(0.2, abs=0.001)


def test_different_values_that_a_stretch_makes_one_are_no_border(tmp_path):
    values, _ = grey("uint16", 0)
    values[:, :80] = np.random.default_rng(1).integers(60_000, 65_000, (400, 80))
    with open_sources(
        [geotiff(tmp_path / "a.tif", values)], SourceOptions(stretch=(0.0, 70.0))
    ) as i:
        assert find_borders(i.parts) == []


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, -3.4028235e38, 3.4028235e38, 1.8e38])
def test_the_least_and_largest_floats_are_no_data_and_spoil_no_stretch(tmp_path, nothing):
    values, _ = grey("float32", nothing)
    pixels, valid, _ = read_only_sheet(geotiff(tmp_path / "a.tif", values))
    assert (valid[:, :80] == 0).all()
    assert valid[:, 80:].all()
    assert 120 < pixels[:, 80:].mean() < 136


def test_a_turned_raster_s_corners_are_a_border(tmp_path):
    pixels = noise()
    rows, columns = np.mgrid[:400, :400]
    pixels[np.abs(rows - 200) + np.abs(columns - 200) > 250] = 0
    (border,) = borders_of(geotiff(tmp_path / "a.tif", pixels))
    assert 0.1 < border.share < 0.3


def test_what_is_no_border_is_not_told(tmp_path):
    inside = noise()
    inside[100:300, 100:300] = 0
    assert borders_of(geotiff(tmp_path / "a.tif", inside)) == []
    corner = noise()
    corner[:20, :20] = 0
    assert borders_of(geotiff(tmp_path / "b.tif", corner)) == []
    assert borders_of(geotiff(tmp_path / "c.tif", collared(), nodata=0)) == []
    assert borders_of(geotiff(tmp_path / "d.tif", collared()), nodata=(0.0,)) == []


def test_a_border_is_told_from_1_percent_on(tmp_path):
    assert LEAST_BORDER == 0.01
    assert borders_of(geotiff(tmp_path / "a.tif", collared(0.04))) != []
    thin = noise()
    thin[:16, :90] = 0  # 0.9 %
    assert borders_of(geotiff(tmp_path / "b.tif", thin)) == []


def test_of_many_sheets_16_are_looked_at_spread_over_all(tmp_path):
    paths = [
        geotiff(tmp_path / f"{n:02}.tif", collared() if n in (0, 1, 36) else noise())
        for n in range(40)
    ]
    with open_sources(paths) as imagery:
        parts = sorted(imagery.parts, key=lambda sheet: sheet.name)
        found = find_borders(parts)
    assert [border.sheet[-6:-4] for border in found] == ["00", "36"]  # every third


def test_a_named_value_is_no_data(tmp_path):
    path = geotiff(tmp_path / "a.tif", collared())
    assert read_only_sheet(path)[1] is None
    pixels, valid, _ = read_only_sheet(path, nodata=(0.0,))
    assert (valid == 0).mean() == pytest.approx(0.2)
    assert np.array_equal(valid > 0, (pixels != 0).any(axis=-1))


def test_a_pixel_is_no_data_only_if_all_its_bands_say_so(tmp_path):
    pixels = np.full((40, 60, 3), 9, np.uint8)
    pixels[:10] = (0, 9, 0)
    pixels[10:20] = (255, 0, 255)
    path = geotiff(tmp_path / "a.tif", pixels)
    assert (read_only_sheet(path, nodata=(255.0, 0.0, 255.0))[1] == 0).sum() == 10 * 60
    assert (read_only_sheet(path, nodata=(9.0,))[1] == 0).sum() == 20 * 60


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_averaged_pixels_of_which_a_part_is_no_data_are_no_data(tmp_path, dtype):
    pixels = collared(81 / 400).astype(dtype)
    path = geotiff(tmp_path / "a.tif", pixels)
    _, valid, _ = read_only_sheet(path, nodata=(0.0,), finest_useful_m=1.1)
    assert valid.shape == (200, 200)
    assert (valid[:, :41] == 0).all()
    assert (valid[:, 41:] == 255).all()


@pytest.mark.parametrize(
    ("nodata", "why"),
    [((256.0,), "0 to 255"), ((-1.0,), "0 to 255"), ((0.5,), "whole numbers"),
     ((1.0, 2.0), "band"), ((0.0, 300.0, 0.0), "0 to 255")],
)  # fmt: skip
def test_values_that_the_file_cannot_hold_are_refused(tmp_path, nodata, why):
    with pytest.raises(InvalidValue, match=why):
        open_sources(
            [geotiff(tmp_path / "a.tif", draw_positions(40, 60))], SourceOptions(nodata=nodata)
        )


@pytest.mark.parametrize(("missing", "kept"), [(0.019, True), (0.021, False)])
def test_a_window_is_left_out_when_more_than_2_percent_of_it_is_no_data(tmp_path, missing, kept):
    assert NODATA_SHARE == 0.02
    pixels = noise(1000, 1000)
    pixels[: round(1000 * missing)] = 0
    path = geotiff(tmp_path / "a.tif", pixels, nodata=0)
    with open_sources([path]) as imagery:
        side = 1000 * imagery.info.metres_per_px
        windows = list(cut_windows(imagery, Tiling(footprint_m=side, stride_m=side)))
    assert bool(windows) is kept
