"""Batches of what a network sees of imagery, with the places and thumbnails of the windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from crossview.arrays import F64, U8
from crossview.imagery.windows import Window
from crossview.index.store import THUMBNAIL_PX
from crossview.views.aerial import aerial_view
from crossview.views.spec import ViewSpec

_JPEG_QUALITY = 75


@dataclass(frozen=True, slots=True)
class TileBatch:
    """n windows as the network takes them, and what the index keeps of them."""

    views: U8  # [n, h, w, 3]
    places: F64  # [n, 3]: latitude, longitude, bearing of up
    thumbnails: tuple[bytes, ...]
    last: int  # number of the last window

    def __len__(self) -> int:
        return len(self.views)


def tile_batches(windows: Iterable[Window], spec: ViewSpec, size: int) -> Iterator[TileBatch]:
    """Group windows in order into batches of ``size``; the last may be smaller."""
    waiting = iter(windows)
    while True:
        views = np.empty((size, spec.height_px, spec.width_px, 3), np.uint8)
        places, thumbnails, last = np.empty((size, 3)), [], -1
        for i, window in enumerate(islice(waiting, size)):
            views[i] = aerial_view(window.pixels, window.metres_per_px, spec)
            places[i] = window.lat, window.lon, window.up_bearing_deg
            thumbnails.append(thumbnail(window.pixels))
            last = window.number
        if thumbnails:
            n = len(thumbnails)
            yield TileBatch(views[:n], places[:n], tuple(thumbnails), last)
        if len(thumbnails) < size:
            return


def thumbnail(pixels: U8) -> bytes:
    """A small JPEG file of a window: whole pixels averaged first, the rest by interpolation.

    Averaging by a fraction is ten times slower and looks the same at this size.
    """
    import cv2
    import simplejpeg

    height, width = pixels.shape[:2]
    if (times := min(height, width) // THUMBNAIL_PX) > 1:
        size = (width // times, height // times)
        whole = pixels[: size[1] * times, : size[0] * times]
        pixels = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    small = cv2.resize(pixels, side, interpolation=cv2.INTER_LINEAR)
    return bytes(
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(small), _JPEG_QUALITY, colorsubsampling="420", fastdct=True
        )
    )
