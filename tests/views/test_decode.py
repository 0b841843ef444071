import builtins
import hashlib
import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from crossview.errors import BadImage
from crossview.views.decode import load_photo, photo_of_pixels, read_rgb

GRADIENT = np.stack(np.meshgrid(np.arange(64) * 4, np.arange(48) * 5), axis=-1)
RGB = np.dstack([GRADIENT, np.full((48, 64), 90)]).astype(np.uint8)


def file_of(image, name, **options):
    data = io.BytesIO()
    image.save(data, name, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "off"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
        ("BMP", {}, 0),
        ("JPEG", {"quality": 98}, 8),
        ("AVIF", {"quality": 100}, 8),
    ],
)
def test_common_formats_are_read(name, options, off):
    pixels = read_rgb(file_of(Image.fromarray(RGB), name, **options))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RGB).max() <= off


def test_heic_photos_are_read_where_the_extra_is_installed():
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    pixels = read_rgb(file_of(Image.fromarray(RGB), "HEIF", quality=100))
    assert np.abs(pixels.astype(int) - RGB).mean() < 4


def test_without_the_extra_heic_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "pillow_heif":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    with pytest.raises(BadImage, match=r"pip install crossview\[heif\]") as problem:
        read_rgb(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert len(str(problem.value).splitlines()) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = read_rgb(file_of(Image.fromarray(RGB), "PNG", exif=exif))
    turns = {1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1]}
    across = RGB.transpose(1, 0, 2)
    turns |= {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]}
    assert (upright == turns[orientation]).all()


def test_16_bit_greys_keep_their_upper_bits():
    grey = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    pixels = read_rgb(file_of(Image.fromarray(grey), "PNG"))
    assert (pixels == (grey >> 8)[..., None]).all()


def test_16_bit_colours_keep_their_upper_bits():
    rows = b"".join(b"\0" + RGB[r].astype(">u2").tobytes() for r in range(48))
    header = struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    assert (read_rgb(data + chunk(b"IEND", b"")) == RGB >> 8).all()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(
        ">I", zlib.crc32(name + content)
    )  # fmt: skip


def test_cmyk_and_palettes_become_rgb():
    cmyk = read_rgb(file_of(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=98))
    assert np.abs(cmyk.astype(int) - RGB).mean() < 6
    palette = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.abs(read_rgb(file_of(palette, "PNG")).astype(int) - RGB).mean() < 12
    assert read_rgb(file_of(Image.fromarray(RGB).convert("1"), "PNG")).shape == RGB.shape


def test_transparent_pixels_show_the_mean_colour_behind():
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:24] = 0
    pixels = read_rgb(file_of(Image.fromarray(np.dstack([RGB, alpha])), "PNG"))
    assert (pixels[:24] == (124, 116, 104)).all()
    assert (pixels[24:] == RGB[24:]).all()


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_rgb(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_files_are_refused_whole(name, share):
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise), name)
    with pytest.raises(BadImage, match="truncated|damaged"):
        read_rgb(data[: int(share * len(data))])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"just words\n" * 100, "not a picture"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7\n" + bytes(500), "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_what_is_no_photo_is_named(data, said):
    with pytest.raises(BadImage, match=said):
        read_rgb(data)


def test_huge_pictures_are_refused_from_their_header():
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    with pytest.raises(BadImage, match="too large"):
        read_rgb(data)
    with pytest.raises(BadImage, match=r"64 x 48 pixels"):
        read_rgb(file_of(Image.fromarray(RGB), "PNG"), max_pixels=1000)


def test_a_limit_above_that_of_pillow_brings_no_warning(recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert read_rgb(file_of(Image.fromarray(RGB), "PNG")).shape == RGB.shape
    assert len(recwarn) == 0


def test_tiny_pictures_are_too_small(tmp_path):
    with pytest.raises(BadImage, match="too small"):
        read_rgb(file_of(Image.new("RGB", (1, 1)), "PNG"))
    small = tmp_path / "small.png"
    small.write_bytes(file_of(Image.new("RGB", (200, 15)), "PNG"))
    with pytest.raises(BadImage, match=r"small\.png: is too small: 200 x 15"):
        load_photo(small)


@pytest.mark.parametrize(("name", "said"), [(".", "folder"), ("absent.jpg", "no such file")])
def test_paths_that_are_no_files_are_named(tmp_path, name, said):
    with pytest.raises(BadImage, match=said) as problem:
        load_photo(tmp_path / name)
    assert str(tmp_path) in str(problem.value)


def test_a_photo_carries_the_hash_of_its_file_and_its_kind(tmp_path):
    path = tmp_path / "a [b] ü.png"
    path.write_bytes(file_of(Image.fromarray(RGB), "PNG"))
    photo = load_photo(path)
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (photo.kind, photo.fov_deg, photo.path) == ("perspective", None, str(path))


def test_twice_as_wide_as_high_is_a_panorama(tmp_path):
    path = tmp_path / "p.jpg"
    Image.new("RGB", (256, 128)).save(path)
    photo = load_photo(path)
    assert (photo.kind, photo.fov_deg, photo.horizon_px) == ("panorama", 360.0, 64.0)


def test_pixels_can_be_given_instead_of_a_file():
    assert photo_of_pixels(np.zeros((64, 128, 3), np.uint8)).kind == "panorama"
    assert photo_of_pixels(np.zeros((64, 90, 3), np.uint8)).fov_deg is None
    with pytest.raises(BadImage, match="uint8"):
        photo_of_pixels(np.zeros((64, 90, 3)))
