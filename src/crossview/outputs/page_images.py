"""Pictures inside an HTML page: how they are made small, and how many bytes they may take."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from crossview.errors import BadImage
from crossview.texts import phrase
from crossview.views.decode import PictureSource, load_photo, read_rgb

_SAMPLE = 12  # pictures that are tried at each size to choose one size for all


@dataclass(frozen=True)
class JpegSize:
    """Long side in pixels and JPEG quality."""

    long_px: int
    quality: int


SIZES = (
    JpegSize(640, 82), JpegSize(512, 80), JpegSize(400, 76), JpegSize(320, 72), JpegSize(240, 66),
)  # fmt: skip
THUMBNAIL = JpegSize(192, 78)
_SMALL_BYTES = 12_000  # thumbnails of so many bytes stay unchanged


class Budget:
    """Bytes of the page that are still free. Pictures count as base64."""

    def __init__(self, total: int) -> None:
        self.left = total

    def take(self, length: int) -> bool:
        """Take ``length`` bytes if so many are left; returns whether they were."""
        if length > self.left:
            return False
        self.left -= length
        return True

    def encode(self, picture: bytes) -> str | None:
        """Base64 of ``picture`` if it fits."""
        if not self.take(4 * ((len(picture) + 2) // 3) + 3):  # quotes and comma around it
            return None
        return base64.b64encode(picture).decode("ascii")


def shrink_picture(picture: PictureSource, size: JpegSize) -> bytes:
    """A JPEG without metadata, upright, its long side at most ``size.long_px``.

    Raises :class:`BadImage` for what cannot be read.
    """
    if isinstance(picture, np.ndarray):
        pixels = picture
    elif isinstance(picture, Image.Image):
        pixels = load_photo(picture).pixels
    else:
        pixels = read_rgb(picture, at_least=(size.long_px, size.long_px))
    image = Image.fromarray(pixels)
    image.thumbnail((size.long_px, size.long_px), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=size.quality, optimize=True)
    return stream.getvalue()


def shrink_thumbnail(thumbnail: bytes) -> bytes:
    """An index's thumbnail, unchanged if it is small, else shrunk."""
    return thumbnail if len(thumbnail) <= _SMALL_BYTES else shrink_picture(thumbnail, THUMBNAIL)


@dataclass(frozen=True)
class ShrunkPhotos:
    """Each photo as base64, None where it was left out; and notes on those."""

    pictures: list[str | None]
    notes: list[str]


def shrink_photos(
    names: Sequence[str], photos: Mapping[str, PictureSource] | None, budget: Budget
) -> ShrunkPhotos:
    """Shrink all photos to the largest of ``SIZES`` at which they fit into the budget.

    ``photos`` holds pictures by name; a name that is missing there is read as a path. When even the
    smallest size does not fit, the last photos are left out.
    """
    sources: list[PictureSource] = [(photos or {}).get(name, name) for name in names]
    size = _choose_size(sources, budget.left)
    pictures: list[str | None] = []
    unreadable = 0
    for source in sources:
        small = _shrink_readable(source, size)
        unreadable += small is None
        pictures.append(None if small is None else budget.encode(small))
    return ShrunkPhotos(pictures, _note_missing(pictures, unreadable))


def _shrink_readable(source: PictureSource, size: JpegSize) -> bytes | None:
    try:
        return shrink_picture(source, size)
    except BadImage:
        return None


def _choose_size(sources: Sequence[PictureSource], max_bytes: int) -> JpegSize:
    sample = sources[:: max(1, len(sources) // _SAMPLE)]
    for size in SIZES:
        lengths = [len(small) for source in sample if (small := _shrink_readable(source, size))]
        expected = 4 / 3 * 1.1 * len(sources) * float(np.mean(lengths)) if lengths else 0.0
        if expected <= max_bytes:
            return size
    return SIZES[-1]


def _note_missing(pictures: Sequence[str | None], unreadable: int) -> list[str]:
    notes = []
    if unreadable:
        notes.append(phrase("map_page.pictures_unreadable", count=unreadable))
    left_out = pictures.count(None) - unreadable
    if left_out:
        notes.append(phrase("map_page.pictures_left_out", count=left_out, total=len(pictures)))
    return notes
