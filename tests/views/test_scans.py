"""A JPEG is decoded in a bounded number of passes; a WebP is refused before memory is taken."""

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from crossview.errors import BadImage
from crossview.views.decode import (
    MOST_SCANNED_PX,
    count_scans,
    load_photo,
    read_rgb,
    require_few_scans,
)


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


def jpeg(width, height, mode="RGB", **options):
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
    assert count_scans(jpeg(64, 64), 99) == 1
    assert count_scans(jpeg(64, 64, progressive=True), 99) == 10
    assert count_scans(jpeg(64, 64, "L", progressive=True), 99) == 6
    assert count_scans(jpeg(64, 64, "CMYK", progressive=True), 99) == 18
    assert count_scans(of_scans(64, 64, 4000), 99) == 100
    thumbnail = segment(0xE1, of_scans(8, 8, 50))
    assert count_scans(b"\xff\xd8" + thumbnail + jpeg(64, 64, progressive=True)[2:], 99) == 10


def test_ordinary_progressive_pictures_pass():
    require_few_scans(jpeg(64, 64, "CMYK", progressive=True), (20_000, 10_000))
    assert read_rgb(jpeg(640, 480, progressive=True)).shape == (480, 640, 3)


def test_a_sequential_file_with_a_pass_for_each_of_many_counts_them():
    data = jpeg(64, 64, "L")
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
