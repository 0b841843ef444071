"""Pictures made small enough for the page: photos, thumbnails, and how many bytes they may take."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossview.arrays import U8
from crossview.errors import BadImage
from crossview.views.decode import read_rgb

Picture = bytes | U8 | str | Path

_SAMPLE = 12  # pictures that are tried at each size before one size is chosen for all


@dataclass(frozen=True)
class Size:
    """Long side in pixels and JPEG quality."""

    long_px: int
    quality: int


SIZES = (Size(640, 82), Size(512, 80), Size(400, 76), Size(320, 72), Size(240, 66))
TILE = Size(192, 78)
_TILE_AS_IT_IS_BYTES = 12_000


class Budget:
    """Bytes of the finished page that are still free. Pictures count as base64."""

    def __init__(self, total: int) -> None:
        self.left = total

    def take(self, length: int) -> bool:
        """Take ``length`` bytes if they are there."""
        if length > self.left:
            return False
        self.left -= length
        return True

    def encoded(self, picture: bytes) -> str | None:
        """Base64 of ``picture`` if it fits."""
        if not self.take(4 * ((len(picture) + 2) // 3) + 3):  # quotes and comma around it
            return None
        return base64.b64encode(picture).decode("ascii")


def shrunk(picture: Picture, size: Size) -> bytes:
    """A JPEG without metadata, upright, its long side at most ``size.long_px``.

    Raises :class:`BadImage` for what cannot be read.
    """
    from PIL import Image

    pixels = (
        picture
        if isinstance(picture, np.ndarray)
        else read_rgb(picture, at_least=(size.long_px, size.long_px))
    )
    image = Image.fromarray(pixels)
    image.thumbnail((size.long_px, size.long_px), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=size.quality, optimize=True)
    return stream.getvalue()


def tile_jpeg(thumbnail: bytes) -> bytes:
    """An index's thumbnail as it is, or made smaller when it is large."""
    return thumbnail if len(thumbnail) <= _TILE_AS_IT_IS_BYTES else shrunk(thumbnail, TILE)


@dataclass(frozen=True)
class Album:
    """What became of each photo: base64, None where left out; and what to say about it."""

    pictures: list[str | None]
    notes: list[str]


def album(names: Sequence[str], given: Mapping[str, Picture] | None, budget: Budget) -> Album:
    """Shrink all photos to the largest of ``SIZES`` at which they fit into the budget.

    ``given`` holds pictures by name; a name that is missing there is read as a path. When even the
    smallest size does not fit, the first photos are kept, in the order given.
    """
    sources: list[Picture] = [(given or {}).get(name, name) for name in names]
    size = _size_that_fits(sources, budget.left)
    pictures: list[str | None] = []
    unreadable = 0
    for source in sources:
        small = _try_shrunk(source, size)
        unreadable += small is None
        pictures.append(None if small is None else budget.encoded(small))
    return Album(pictures, _notes(pictures, unreadable))


def _try_shrunk(source: Picture, size: Size) -> bytes | None:
    try:
        return shrunk(source, size)
    except BadImage:
        return None


def _size_that_fits(sources: Sequence[Picture], room: int) -> Size:
    sample = sources[:: max(1, len(sources) // _SAMPLE)]
    for size in SIZES:
        lengths = [len(small) for source in sample if (small := _try_shrunk(source, size))]
        expected = 4 / 3 * 1.1 * len(sources) * float(np.mean(lengths)) if lengths else 0.0
        if expected <= room:
            return size
    return SIZES[-1]


def _notes(pictures: Sequence[str | None], unreadable: int) -> list[str]:
    notes = []
    if unreadable:
        notes.append(f"Listed without picture, because they could not be read again: {unreadable}.")
    left_out = pictures.count(None) - unreadable
    if left_out:
        notes.append(
            f"Listed without picture, to keep this page small: {left_out} of {len(pictures)} "
            "photos. They were located like the others."
        )
    return notes
