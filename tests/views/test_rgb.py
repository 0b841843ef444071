"""How a picture file becomes RGB: the same for photos and for imagery."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from crossview.errors import BadImage
from crossview.views.decode import (
    BACKDROP,
    OPAQUE,
    invert_greys,
    load_photo,
    orient_pixels,
    read_picture,
    read_picture_size,
    read_rgb,
)
from crossview.views.spec import IMAGENET_MEAN

GREY = (np.arange(48 * 64).reshape(48, 64) % 256).astype(np.uint8)
WIDE = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)


def tiff(*planes, **options):
    """A TIFF of planes as GDAL writes it."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    height, width = planes[0].shape
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff", height=height, width=width, count=len(planes),
            dtype=planes[0].dtype, **options,
        ) as file:  # fmt: skip
            file.write(np.stack(planes))
        memory.seek(0)
        return memory.read()


def saved(image, name="PNG", **options):
    data = io.BytesIO()
    image.save(data, name, **options)
    return data.getvalue()


def test_greys_whose_file_says_that_0_is_white_are_inverted():
    assert (read_rgb(tiff(GREY, photometric="MINISWHITE")) == (255 - GREY)[..., None]).all()
    wide = read_rgb(tiff(WIDE, photometric="MINISWHITE"))
    assert (wide == (255 - (WIDE >> 8))[..., None]).all()
    bits = tiff(GREY % 2, photometric="MINISWHITE", nbits=1)
    assert (read_rgb(bits) == np.where(GREY % 2, 0, 255)[..., None]).all()
    assert (invert_greys(WIDE, 16) == 65535 - WIDE).all()
    assert invert_greys(GREY, 8).dtype == np.uint8


def test_of_more_bits_the_upper_8_that_the_file_uses_are_kept():
    assert (read_rgb(tiff(WIDE)) == (WIDE >> 8)[..., None]).all()
    assert (read_rgb(tiff(WIDE % 4096, nbits=12)) == (WIDE % 4096 >> 4)[..., None]).all()
    colours = [WIDE, WIDE[::-1], WIDE[:, ::-1]]
    together = tiff(*colours, photometric="RGB", interleave="pixel")
    assert (read_rgb(together) == np.stack(colours, axis=-1) >> 8).all()


def test_what_pillow_would_read_wrongly_is_refused():
    with pytest.raises(BadImage, match="separate planes"):
        read_rgb(tiff(WIDE, WIDE, WIDE, photometric="RGB", interleave="band"))
    with pytest.raises(BadImage, match="floating-point"):
        read_rgb(tiff(GREY.astype(np.float32)))


def test_cmyk_is_what_gdal_makes_of_it():
    from rasterio.io import MemoryFile

    four = [GREY, GREY[::-1], GREY[:, ::-1], GREY // 2]
    data = tiff(*four, photometric="CMYK")
    with warnings.catch_warnings(), MemoryFile(data) as memory:
        warnings.simplefilter("ignore")
        with memory.open() as file:
            expected = np.moveaxis(file.read((1, 2, 3)), 0, -1)
    assert np.abs(read_rgb(data).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "P"])
def test_alpha_is_kept_apart_for_imagery_and_shows_the_mean_colour_in_photos(mode):
    alpha = np.where(np.arange(48)[:, None] < 24, 255, 64) + np.zeros((48, 64))
    if mode == "P":
        image = Image.fromarray(
            (np.arange(48)[:, None] // 24 + np.zeros((48, 64))).astype("u1"), "P"
        )
        image.putpalette([9, 9, 9, 9, 9, 9])
        data = saved(image, transparency=b"\xff\x40")
    else:
        image = Image.new("LA" if mode != "RGBA" else "RGBA", (64, 48), (9, 255)[: 1] * 3 + (255,)
                          if mode == "RGBA" else (9, 255))  # fmt: skip
        image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
        data = saved(image.convert(mode) if mode != "PA" else image)
    rgb, found = read_picture(data)
    assert (rgb == 9).all()
    assert (found == alpha).all()
    assert ((found >= OPAQUE) == (alpha > 127)).all()
    assert OPAQUE == 128
    assert pytest.approx([255 * mean for mean in IMAGENET_MEAN], abs=0.5) == BACKDROP
    mixed = [round((9 * 64 + back * 191) / 255) for back in BACKDROP]
    assert (read_rgb(data)[:24] == 9).all()
    assert (read_rgb(data)[24:] == mixed).all()


def test_what_is_opaque_has_no_alpha():
    assert read_picture(saved(Image.fromarray(GREY)))[1] is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_pictures_stand_upright_whatever_their_format(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
    options = {"quality": 98} if kind == "JPEG" else {}
    data = saved(Image.fromarray(colours), kind, exif=exif, **options)
    shown = orient_pixels(colours, orientation)
    assert read_rgb(data).shape == shown.shape
    assert read_picture(data)[0].shape == shown.shape
    (tmp_path / "p").write_bytes(data)
    assert read_picture_size(tmp_path / "p") == shown.shape[:2]
    assert load_photo(data).shrunk == 1.0
    if kind != "JPEG":
        assert (read_rgb(data) == shown).all()
    back = {6: 8, 8: 6}.get(orientation, orientation)
    assert (orient_pixels(orient_pixels(colours, back), orientation) == colours).all()
