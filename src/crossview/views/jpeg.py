"""JPEG through libjpeg-turbo directly: the pixels that Pillow and OpenCV give, or fewer of them.

Full size: bit for bit what Pillow decodes, in 2/3 of the time. Smaller: the inverse transform of
each 8 x 8 block gives 1 to 7 pixels a side instead of 8 (DCT scaling), which leaves little more
than the entropy decoding to do.
"""

from __future__ import annotations

import re
from mmap import mmap

import numpy as np
from PIL import Image

from crossview.arrays import U8
from crossview.errors import BadImage

MOST_SCANNED_PX = 600_000_000  # pixels times scans, of more scans than any usual file has
_USUAL_SCANS = 20  # allowed whatever the size: programs write 10, of four channels 18
Buffer = bytes | mmap
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # but for restarts and stuffed bytes
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def can_shrink(image: Image.Image) -> bool:
    """Whether :func:`turbo_pixels` decodes a picture whose header is ``image``."""
    return image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")


def turbo_pixels(data: bytes, image: Image.Image, at_least: tuple[int, int] | None) -> U8 | None:
    """Stored RGB [H, W, 3] of the JPEG ``data`` whose header is ``image``; None: Pillow has to.

    ``at_least`` (stored rows, columns): the smallest of the eighths of its size that has as many;
    None: full size, exact. Left to Pillow: other formats and colour models, and whatever is damaged
    (it then says how).
    """
    if not can_shrink(image):
        return None
    import simplejpeg

    fast = at_least is not None
    rows, columns = at_least or (0, 0)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=fast, fastupsample=fast, min_height=rows, min_width=columns
        )
    except ValueError:
        return None
    return np.asarray(pixels, dtype=np.uint8)


def largest_that_fits(size: tuple[int, int], most_px: int) -> tuple[int, int] | None:
    """(rows, columns) of the largest eighth of (width, height) of at most ``most_px`` pixels."""
    width, height = size
    for eighths in range(8, 0, -1):
        rows, columns = -(-height * eighths // 8), -(-width * eighths // 8)
        if rows * columns <= most_px:
            return rows, columns
    return None


def scan_count(data: Buffer, most: int) -> int:
    """How many passes over its pixels a JPEG needs, up to ``most`` + 1; its segments are walked.

    An ordinary sequential file needs one: whatever follows that is not decoded.
    """
    at, count, channels, progressive = 2, 0, 0, False
    while count <= most and (found := _MARKER.search(data, at)):
        kind, at = data[found.start() + 1], found.end()
        if kind in (_START, _END):
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if kind in _FRAMES:
            channels, progressive = (
                int.from_bytes(data[at + 7 : at + 8], "big"),
                kind in _PROGRESSIVE,
            )
        if kind == _SCAN:
            count += 1
            if not progressive and data[at + 2 : at + 3] == bytes([channels]):
                break
        at += max(2, length)
    return count


def require_few_scans(data: Buffer, size: tuple[int, int]) -> None:
    """Refuse a JPEG of (width, height) that takes very many passes over its pixels to decode.

    Raises :class:`BadImage`. Progressive files of usual programs have about 10 scans.
    """
    pixels = max(1, size[0] * size[1])
    most = max(_USUAL_SCANS, MOST_SCANNED_PX // pixels)
    if scan_count(data, most) > most:
        raise BadImage(
            f"would be decoded in more than {most} passes ({size[0]} x {size[1]} pixels); usual "
            "are about 10.\nSave it again as an ordinary JPEG."
        )
