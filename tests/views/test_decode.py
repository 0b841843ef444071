"""Pictures become upright RGB exactly, or are refused: by size, memory, passes and damage."""

import builtins
import hashlib
import io
import math
import re
import struct
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from crossview.errors import BadImage
from crossview.files import walk_files
from crossview.outputs.map_page import render_live_page
from crossview.service.settings import Settings
from crossview.views.decode import (
    MAX_FILE_BYTES,
    MAX_MEMORY_BYTES,
    MAX_PIXELS,
    MOST_SCANNED_PX,
    READABLE,
    SUFFIXES,
    count_scans,
    find_largest_size,
    load_photo,
    make_photo,
    read_photo_facts,
    read_picture_size,
    read_rgb,
    require_few_scans,
)

ROOT = Path(__file__).resolve().parents[2]

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
    heif = pytest.importorskip("pillow_heif", reason="needs the package pillow-heif")
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
def test_a_file_that_is_not_a_photo_is_named(data, said):
    with pytest.raises(BadImage, match=said):
        read_rgb(data)


def test_huge_pictures_are_refused_from_their_header():
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    with pytest.raises(BadImage, match="too large"):
        read_rgb(data)
    with pytest.raises(BadImage, match=r"64 x 48 pixels"):
        read_rgb(file_of(Image.fromarray(RGB), "PNG"), max_pixels=1000)


@pytest.mark.parametrize("pillows", [2000, 1000, 10])  # beyond twice its limit Pillow refuses
def test_our_limit_counts_and_not_pillows_which_is_as_before_afterwards(
    recwarn, monkeypatch, tmp_path, pillows
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        data = file_of(Image.fromarray(RGB), kind)
        assert read_rgb(data).shape == load_photo(data).pixels.shape == RGB.shape
        (tmp_path / "p").write_bytes(data)
        assert read_picture_size(tmp_path / "p") == RGB.shape[:2]
        assert read_photo_facts(tmp_path / "p").kind == "perspective"
    with pytest.raises(BadImage, match="too large"):
        read_rgb(data, max_pixels=3000)
    assert len(recwarn) == 0
    assert pillows == Image.MAX_IMAGE_PIXELS


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


def test_twice_as_wide_as_high_is_assumed_to_be_a_panorama(tmp_path):
    path = tmp_path / "p.jpg"
    Image.new("RGB", (256, 128)).save(path)
    photo = load_photo(path)
    assert (photo.kind, photo.fov_deg, photo.horizon_px) == ("panorama", 360.0, 64.0)
    assert "twice as wide as high" in photo.view_assumptions[0]


# What may be decoded.


def test_the_limits_fit_todays_cameras():
    assert MAX_PIXELS == 200_000_000 > 12_000 * 9_000
    assert MAX_MEMORY_BYTES == 1_200_000_000
    assert MAX_FILE_BYTES == 2**30
    server = Settings()
    assert server.max_pixels == 200_000_000
    assert server.max_memory_bytes == 800_000_000
    assert server.max_file_bytes == 100_000_000


def test_a_large_jpeg_is_decoded_as_large_as_memory_allows():
    large = file_of(Image.new("RGB", (800, 400), (9, 90, 200)), "JPEG")
    assert load_photo(large, max_memory_bytes=3 * 800 * 400).pixels.shape == (400, 800, 3)
    small = load_photo(large, max_memory_bytes=3 * 800 * 400 - 1)
    assert small.pixels.shape == (350, 700, 3)
    assert (small.kind, small.fov_deg, small.horizon_px) == ("panorama", 360.0, 175.0)
    assert small.shrunk == 350 / 400
    least = load_photo(large, max_memory_bytes=3 * 800 * 400 - 1, at_least=(1, 790))
    assert least.pixels.shape == (350, 700, 3)


def test_a_turned_jpeg_is_decoded_as_large_as_memory_allows_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(Image.new("RGB", (800, 300)), "JPEG", exif=exif)
    assert load_photo(data, max_memory_bytes=6 * 800 * 300).pixels.shape == (800, 300, 3)
    assert load_photo(data, max_memory_bytes=6 * 800 * 300 - 1).pixels.shape == (700, 263, 3)


def test_a_progressive_jpeg_needs_memory_for_its_coefficients_at_any_size():
    data = file_of(Image.new("RGB", (800, 400)), "JPEG", progressive=True)
    pixels = 800 * 400
    assert load_photo(data, max_memory_bytes=9 * pixels).pixels.shape == (400, 800, 3)
    assert load_photo(data, max_memory_bytes=7 * pixels).pixels.shape[0] < 400
    with pytest.raises(BadImage, match="to decode"):
        load_photo(data, max_memory_bytes=6 * pixels)


@pytest.mark.parametrize(
    ("name", "each"),
    [("PNG", 10), ("WEBP", 18), ("TIFF", 10), ("AVIF", 10), ("BMP", 11), ("JPEG2000", 20)],
)
def test_what_would_take_too_much_memory_is_refused_from_its_header(name, each):
    data = file_of(Image.fromarray(RGB), name)
    assert read_rgb(data, max_memory_bytes=each * 64 * 48).shape == RGB.shape
    with pytest.raises(BadImage, match=r"to decode \(64 x 48 pixels\).*\nSave a smaller copy"):
        read_rgb(data, max_memory_bytes=each * 64 * 48 - 1)
    with pytest.raises(BadImage, match="to decode"):
        load_photo(data, max_memory_bytes=each * 64 * 48 - 1)


def test_a_jpeg_that_is_read_exactly_is_never_made_smaller():
    data = file_of(Image.fromarray(RGB), "JPEG")
    assert read_rgb(data, max_memory_bytes=3 * 64 * 48).shape == RGB.shape
    with pytest.raises(BadImage, match="to decode"):
        read_rgb(data, max_memory_bytes=3 * 64 * 48 - 1)


# Which files are photos.


def test_every_format_that_is_decoded_has_its_suffixes():
    Image.init()
    held = {"JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM"}
    pillows = {s for s, name in Image.registered_extensions().items() if name in held}
    assert pillows - set(SUFFIXES) <= {".avifs", ".pfm", ".jps"}  # films, floats, stereo pairs
    assert {".heic", ".heif"} <= set(SUFFIXES)
    assert len(SUFFIXES) == len(set(SUFFIXES))


@pytest.mark.parametrize("place", ["README.md", "docs/commands.md", "src/crossview/cli/locate.py"])
def test_documents_and_help_name_every_format(place):
    text = (ROOT / place).read_text(encoding="utf-8").replace("\n", " ")
    for name in READABLE.replace(" and ", ", ").split(", "):
        assert name in text, name


def test_the_page_takes_every_photo_by_its_name():
    accepted = re.search(r'accept="([^"]*)"', render_live_page())[1].split(",")
    assert accepted == ["image/*", *SUFFIXES]


def test_photos_of_a_folder_are_found_whatever_their_case_and_system_files_are_none(tmp_path):
    kept = ["a.JPG", "b.avif", "c.Tiff", "sub/d.heic"]
    other = ["._a.jpg", ".e.jpg", "@eaDir/a.jpg", "f.mp4", "g.txt", "Thumbs.db", ".hidden/h.jpg"]
    for name in [*kept, *other]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert [str(path.relative_to(tmp_path)) for path in walk_files(tmp_path, SUFFIXES)] == kept


# What may be given.


def test_a_photo_may_be_a_path_bytes_a_pillow_image_or_pixels(tmp_path):
    data = file_of(Image.fromarray(RGB), "PNG")
    (tmp_path / "p.png").write_bytes(data)
    image = Image.open(io.BytesIO(data))
    for source in (tmp_path / "p.png", str(tmp_path / "p.png"), data, image, RGB):
        assert (load_photo(source).pixels == RGB).all()
    assert load_photo(data).path == "picture"
    assert load_photo(data, name="mine").path == "mine"
    assert load_photo(data).sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(BadImage, match="mine: is too small"):
        load_photo(Image.new("RGB", (9, 9)), name="mine")
    with pytest.raises(BadImage, match="too large"):
        load_photo(Image.fromarray(RGB), max_pixels=100)


def test_facts_are_read_without_decoding(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8769] = {0xA405: 26}
    Image.new("RGB", (400, 300)).save(tmp_path / "p.jpg", exif=exif)
    facts, photo = read_photo_facts(tmp_path / "p.jpg"), load_photo(tmp_path / "p.jpg")
    assert (facts.kind, facts.fov_deg) == (photo.kind, photo.fov_deg)
    assert facts.fov_deg == pytest.approx(2 * math.degrees(math.atan(18 / 26 * 3 / 4)))


def test_pixels_can_be_given_instead_of_a_file():
    assert make_photo(np.zeros((64, 128, 3), np.uint8)).kind == "panorama"
    assert make_photo(np.zeros((64, 90, 3), np.uint8)).fov_deg is None
    with pytest.raises(BadImage, match="uint8"):
        make_photo(np.zeros((64, 90, 3)))


NOISE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
PICTURE = np.asarray(Image.fromarray(NOISE).resize((397, 203), Image.Resampling.BICUBIC))


def jpeg(picture=PICTURE, **settings):
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", **settings)
    return stream.getvalue()


def pillows(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_an_exact_picture_is_pillows_and_opencvs_to_the_bit(subsampling, progressive):
    import cv2

    data = jpeg(subsampling=subsampling, progressive=progressive)
    ours = read_rgb(data)
    assert (ours == pillows(data)).all()
    assert (ours == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]).all()


def test_a_grey_picture_is_pillows_too():
    data = jpeg(PICTURE[..., 0])
    assert (read_rgb(data) == pillows(data)).all()


@pytest.mark.parametrize(
    ("at_least", "size"),
    [((60, 60), (77, 149)), ((203, 1), (203, 397)), ((999, 9), (203, 397)), ((1, 1), (26, 50))],
)
def test_a_small_one_has_the_fewest_eighths_that_are_enough(at_least, size):
    assert read_rgb(jpeg(), at_least=at_least).shape == (*size, 3)


def test_a_small_one_looks_like_the_large_one():
    large = np.asarray(Image.fromarray(NOISE).resize((800, 480), Image.Resampling.BICUBIC))
    small = read_rgb(jpeg(large, quality=95, subsampling=0), at_least=(240, 400))
    expected = large.reshape(240, 2, 400, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).mean() < 2


def test_anything_but_a_plain_jpeg_is_decoded_in_full():
    stream = BytesIO()
    Image.fromarray(PICTURE).save(stream, "PNG")
    assert (read_rgb(stream.getvalue(), at_least=(10, 10)) == PICTURE).all()
    cmyk = BytesIO()
    Image.fromarray(PICTURE).convert("CMYK").save(cmyk, "JPEG")
    assert read_rgb(cmyk.getvalue(), at_least=(10, 10)).shape == (203, 397, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_decoded_small_too_and_stands_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(exif=exif, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    assert (read_rgb(data) == upright).all()
    rows, columns = upright.shape[:2]
    small = read_rgb(data, at_least=(rows // 2, columns // 2))
    assert small.shape == (-(-rows // 2), -(-columns // 2), 3)
    coarse = np.asarray(Image.fromarray(upright).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - coarse).mean() < 12


def test_pictures_of_phones_that_hold_a_second_one_are_decoded_small_too():
    stream = BytesIO()
    first = Image.fromarray(PICTURE)
    first.save(stream, "MPO", save_all=True, append_images=[first])
    assert read_rgb(stream.getvalue(), at_least=(10, 10)).shape == (26, 50, 3)


@pytest.mark.parametrize(
    ("most_px", "size"),
    [(10**9, (203, 397)), (203 * 397 - 1, (178, 348)), (26 * 50, (26, 50)), (26 * 50 - 1, None)],
)
def test_the_largest_eighth_that_fits(most_px, size):
    assert find_largest_size((397, 203), most_px) == size


@pytest.mark.parametrize("at_least", [None, (20, 20)])
def test_a_truncated_file_is_refused_in_either_mode(at_least):
    data = jpeg(quality=95)
    for kept in (200, len(data) // 2, len(data) - 200):
        with pytest.raises(BadImage, match="truncated or damaged|not a picture"):
            read_rgb(data[:kept], at_least=at_least)


def test_a_photo_decoded_small_knows_what_the_large_one_was(tmp_path):
    path = tmp_path / "panorama.jpg"
    path.write_bytes(jpeg(np.zeros((202, 404, 3), np.uint8)))
    photo = load_photo(path, at_least=(50, 100))
    assert photo.pixels.shape == (51, 101, 3)
    assert (photo.kind, photo.fov_deg) == ("panorama", 360.0)
    assert photo.horizon_px == pytest.approx(25.5, abs=0.5)


def segment(kind, content):
    return bytes([0xFF, kind]) + struct.pack(">H", len(content) + 2) + content


def of_scans(width, height, scans):
    """A grey progressive JPEG of one empty first pass and others that say nothing new."""
    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    head += segment(0xC4, bytes([0x00, 1, *[0] * 15, 0]))
    blocks = -(-width // 8) * -(-height // 8)
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    again = segment(0xDA, bytes([1, 1, 0, 0, 0, 0x10])) + b"\0" * 4
    return head + first + again * (scans - 1) + b"\xff\xd9"


def scans_jpeg(width, height, mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(("size", "scans"), [((6000, 8000), 21), ((1000, 1000), 601)])
def test_more_passes_than_the_budget_are_refused_at_once(size, scans):
    data = of_scans(*size, scans)
    began = time.perf_counter()
    with pytest.raises(BadImage, match="passes"):
        load_photo(data)
    assert time.perf_counter() - began < 0.2
    require_few_scans(of_scans(*size, scans - 1), size)


def test_the_budget_is_600_million_pixels_over_all_passes_or_20_passes():
    assert MOST_SCANNED_PX == 600_000_000
    require_few_scans(of_scans(64, 64, 20), (20_000, 10_000))
    with pytest.raises(BadImage):
        require_few_scans(of_scans(64, 64, 21), (20_000, 10_000))


def test_passes_are_counted_as_they_stand_in_the_file():
    assert count_scans(scans_jpeg(64, 64), 99) == 1
    assert count_scans(scans_jpeg(64, 64, progressive=True), 99) == 10
    assert count_scans(scans_jpeg(64, 64, "L", progressive=True), 99) == 6
    assert count_scans(scans_jpeg(64, 64, "CMYK", progressive=True), 99) == 18
    assert count_scans(of_scans(64, 64, 4000), 99) == 100
    thumbnail = segment(0xE1, of_scans(8, 8, 50))
    assert count_scans(b"\xff\xd8" + thumbnail + scans_jpeg(64, 64, progressive=True)[2:], 99) == 10


def test_ordinary_progressive_pictures_pass():
    require_few_scans(scans_jpeg(64, 64, "CMYK", progressive=True), (20_000, 10_000))
    assert read_rgb(scans_jpeg(640, 480, progressive=True)).shape == (480, 640, 3)


def test_a_sequential_file_with_a_pass_for_each_of_many_counts_them():
    data = scans_jpeg(64, 64, "L")
    at = data.index(b"\xff\xda")
    passes = data[at:-2] * 3000
    one = data[:at] + data[at:-2] + passes + b"\xff\xd9"
    assert count_scans(one, 99) == 1  # all channels in the first: the rest is not decoded
    colour = data.replace(
        segment(0xC0, struct.pack(">BHHB", 8, 64, 64, 1) + bytes([1, 0x11, 0])),
        segment(0xC0, struct.pack(">BHHB", 8, 64, 64, 2) + bytes([1, 0x11, 0, 2, 0x11, 0])),
    )
    at = colour.index(b"\xff\xda")
    assert count_scans(colour[:at] + passes + b"\xff\xd9", 99) == 100


@pytest.mark.parametrize("kind", ["VP8L", "VP8X", "VP8 "])
def test_a_webp_is_refused_by_its_header(kind):
    width, height = 16_000, 5_000
    if kind == "VP8L":
        body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
    elif kind == "VP8X":
        body = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        body = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = kind.encode() + struct.pack("<I", len(body)) + body
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    with pytest.raises(BadImage, match="would take 1440 MB"):
        load_photo(data)
    with pytest.raises(BadImage, match="too large"):
        load_photo(data, max_pixels=1_000_000)


def test_the_header_of_a_webp_tells_its_size():
    for lossless in (True, False):
        file = io.BytesIO()
        Image.fromarray(np.zeros((30, 50, 3), np.uint8)).save(file, "WEBP", lossless=lossless)
        with pytest.raises(BadImage, match="50 x 30 pixels"):
            load_photo(file.getvalue(), max_pixels=100)
