"""A listed picture shows the same pixels to the index as to training, whatever its file is like."""

import numpy as np
import pytest
import rasterio
from PIL import Image
from tests.imagery.georeferenced import draw_positions, geotiff, read_only_sheet, xyz_folder

from crossview.errors import BadImagery
from crossview.imagery.sources import open_sources
from crossview.views.decode import OPAQUE, read_rgb

GREY = draw_positions(40, 60)[..., 0]


def cmyk():
    ink = np.dstack([draw_positions(40, 60), np.full((40, 60), 40, np.uint8)])
    return Image.fromarray(ink, "CMYK")


def orientation(number):
    exif = Image.Exif()
    exif[274] = number
    return exif.tobytes()


def palette():
    return Image.fromarray(draw_positions(40, 60)).quantize(64)


WRITERS = {
    "rgb.png": lambda path: Image.fromarray(draw_positions(40, 60)).save(path),
    "grey.png": lambda path: Image.fromarray(GREY).save(path),
    "grey and alpha.png": lambda path: Image.fromarray(
        np.dstack([GREY, np.full_like(GREY, 255)]), "LA"
    ).save(path),
    "palette.png": palette().save,
    "palette with a clear colour.png": lambda path: palette().save(path, transparency=3),
    "one bit.png": lambda path: Image.fromarray(GREY).convert("1").save(path),
    "one bit.tif": lambda path: Image.fromarray(GREY).convert("1").save(path),
    "cmyk.jpg": lambda path: cmyk().save(path, quality=100, subsampling=0),
    "cmyk.tif": lambda path: cmyk().save(path),
    "0 is white.tif": lambda path: Image.fromarray(GREY).save(path, tiffinfo={262: 0}),
}


def shown(tmp_path, name, upright_px):
    (tmp_path / "list.csv").write_text(f"file,lat,lon,metres_per_px\n{name},52.5,13.4,0.3\n")
    pixels, valid, sheet = read_only_sheet(tmp_path / "list.csv")
    assert (sheet.grid.width_px, sheet.grid.height_px) == upright_px
    return pixels, np.full(pixels.shape[:2], 255, np.uint8) if valid is None else valid


@pytest.mark.parametrize("name", WRITERS)
def test_the_index_sees_what_training_sees(tmp_path, name):
    WRITERS[name](tmp_path / name)
    pixels, valid = shown(tmp_path, name, (60, 40))
    there = valid > 0
    expected = read_rgb(tmp_path / name)
    assert there.mean() > 0.9
    apart = np.abs(pixels.astype(int) - expected)[there]
    assert apart.max() <= (3 if "cmyk" in name else 0)


def test_a_grey_raster_of_the_library_in_which_0_is_white_is_turned_over(tmp_path):
    import rasterio

    path = tmp_path / "a.tif"
    facts = {"height": 40, "width": 60, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", photometric="MINISWHITE", **facts) as raster:
        raster.write(GREY[None])
    pixels, _ = shown(tmp_path, "a.tif", (60, 40))
    assert np.array_equal(pixels[..., 0], 255 - GREY)
    assert np.array_equal(pixels, read_rgb(path))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_listed_picture_lies_as_its_exif_orientation_says(tmp_path, number, suffix):
    options = {".jpg": {"quality": 95}, ".webp": {"lossless": True}}.get(suffix, {})
    picture = Image.fromarray(draw_positions(40, 60))
    picture.save(tmp_path / f"a{suffix}", exif=orientation(number), **options)
    size = (40, 60) if number >= 5 else (60, 40)
    pixels, _ = shown(tmp_path, f"a{suffix}", size)
    assert np.abs(pixels.astype(int) - read_rgb(tmp_path / f"a{suffix}")).max() <= 3


@pytest.mark.parametrize("number", [2, 3, 6, 7])
def test_parts_of_a_turned_picture_are_parts_of_the_whole(tmp_path, number):
    from crossview.imagery.sheets import Box

    Image.fromarray(draw_positions(40, 60)).save(tmp_path / "a.png", exif=orientation(number))
    (tmp_path / "list.csv").write_text("file,lat,lon,width_m\na.png,52.5,13.4,12\n")
    from crossview.imagery.sources import open_sources

    with open_sources([tmp_path]) as imagery:
        (sheet,) = imagery.sheets
        assert sheet.metres_per_px == pytest.approx(12.0 / sheet.grid.width_px)
        part = sheet.store.read(Box(5, 17, 8, 31)).pixels
        assert np.array_equal(part, read_rgb(tmp_path / "a.png")[5:17, 8:31])


def test_a_georeferenced_picture_lies_as_it_is_stored_because_its_place_does(tmp_path):
    Image.fromarray(draw_positions(40, 60)).save(tmp_path / "a.png", exif=orientation(6))
    (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n391000\n5820000\n")
    pixels, _, _ = read_only_sheet(tmp_path / "a.png", crs="EPSG:32633")
    assert np.array_equal(pixels, draw_positions(40, 60))


def test_greys_of_16_bits_in_which_0_is_white_are_averaged_as_others_are(tmp_path):
    values = np.random.default_rng(0).integers(0, 65535, (100, 100, 1)).astype(np.uint16)
    shrunk = []
    for name, profile in (("usual", {}), ("white", {"photometric": "MINISWHITE"})):
        path = geotiff(tmp_path / f"{name}.tif", values, **profile)
        with open_sources([path]) as imagery:
            shrunk.append(imagery.sheets[0].store.shrunk(10, 10).pixels.mean())
    assert sum(shrunk) == pytest.approx(255.0, abs=3.0)


def test_palettes_of_16_bits_are_read(tmp_path):
    values = np.arange(400, dtype=np.uint16).reshape(20, 20, 1)
    path = geotiff(tmp_path / "a.tif", values, photometric="PALETTE")
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, {n: (n % 256, 255 - n % 256, n // 256, 255) for n in range(400)})
    pixels = read_only_sheet(path)[0].reshape(-1, 3)
    assert pixels[:, 0].tolist() == [n % 256 for n in range(400)]
    assert pixels[:, 2].tolist() == [n // 256 for n in range(400)]


@pytest.mark.parametrize(
    ("values", "profile", "why"),
    [
        (np.ones((20, 20, 3), np.complex64), {}, "complex numbers"),
        (np.ones((20, 20, 3), np.uint8), {"photometric": "CIELAB"}, r"CIE L\*a\*b"),
    ],
)
def test_what_is_neither_grey_nor_colours_is_refused(tmp_path, values, profile, why):
    with pytest.raises(BadImagery, match=why):
        open_sources([geotiff(tmp_path / "a.tif", values, **profile)])


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "png", "tile"])
def test_less_than_half_opaque_is_no_data_in_every_kind_of_imagery(tmp_path, kind):
    pixels = np.concatenate([draw_positions(64, 64), np.full((64, 64, 1), 255, np.uint8)], axis=-1)
    pixels[:16, :, 3], pixels[16:32, :, 3], pixels[32:48, :, 3] = 0, OPAQUE - 1, OPAQUE
    if kind == "png":
        Image.fromarray(pixels).save(tmp_path / "a.png")
        (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n391000\n5820000\n")
        path, options = tmp_path / "a.png", {"crs": "EPSG:32633"}
    elif kind == "tile":
        path, options = xyz_folder(tmp_path, {(140_000, 86_000): pixels}, 18), {}
    else:
        deep = pixels.astype(np.uint16) * 257 if kind == "16 bits" else pixels
        path = geotiff(tmp_path / "a.tif", deep, photometric="RGB", alpha="YES")
        options = {}
    valid = read_only_sheet(path, **options)[1]
    assert set(np.unique(valid[:32])) == {0}
    assert set(np.unique(valid[32:])) == {255}
