"""A base map out of an index's thumbnails, for when the imagery itself is not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crossview.arrays import F32, I64, U8
from crossview.errors import CrossviewError
from crossview.geo.footprints import Footprint
from crossview.outputs.heat import cells
from crossview.outputs.regions import Extent
from crossview.views.decode import read_rgb

if TYPE_CHECKING:
    from crossview.retrieval.index import Index


MOST_THUMBNAILS = 4000  # more are thinned out: about ten seconds of decoding and warping


def mosaic(index: Index, rows: I64, extent: Extent, size_px: tuple[int, int]) -> U8:
    """The thumbnails of windows ``rows`` laid on a Web Mercator canvas, RGBA [H, W, 4].

    ``size_px`` is (width, height). What no thumbnail covers stays transparent.
    """
    width, height = size_px
    canvas = np.zeros((height, width, 4), np.uint8)
    for row in _thinned(index, rows):
        try:
            thumbnail = read_rgb(index.thumbnail(int(row)))
        except CrossviewError:
            continue
        _paste(canvas, thumbnail, _corners(index.footprint(int(row)), extent, size_px))
    return canvas


def _thinned(index: Index, rows: I64) -> I64:
    """At most ``MOST_THUMBNAILS`` of the rows, spread evenly over the ground."""
    stride_m = index.manifest.stride_m
    squares = cells(index.lat[rows], index.lon[rows], stride_m, MOST_THUMBNAILS).of_window
    return rows[np.unique(squares, return_index=True)[1]]


def _corners(footprint: Footprint, extent: Extent, size_px: tuple[int, int]) -> F32:
    """Canvas pixels [3, 2] of a footprint's upper left, upper right and lower left corner."""
    upper_left, upper_right, _, lower_left = footprint.corners()
    three = (upper_left, upper_right, lower_left)
    lat, lon = np.array([p.lat for p in three]), np.array([p.lon for p in three])
    return extent.pixel(lat, lon, size_px).astype(np.float32)


def _paste(canvas: U8, picture: U8, corners: F32) -> None:
    """Warp ``picture`` onto the canvas so that its corners come to lie on ``corners``."""
    import cv2

    fourth = corners[1] + corners[2] - corners[0]
    all_four = np.vstack([corners, fourth])
    left, top = np.maximum(np.floor(all_four.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(all_four.max(axis=0)).astype(int) + 1
    part = canvas[top:bottom, left:right]
    if part.size == 0:
        return
    across = int(max(1.0, np.hypot(*(corners[1] - corners[0]))))
    down = int(max(1.0, np.hypot(*(corners[2] - corners[0]))))
    if across < picture.shape[1]:
        picture = cv2.resize(picture, (across, down), interpolation=cv2.INTER_AREA)
    opaque = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    h, w = picture.shape[:2]
    onto = cv2.getAffineTransform(
        np.array([[0, 0], [w, 0], [0, h]], np.float32) - 0.5,
        corners - np.array([left, top], np.float32) - 0.5,
    )
    warped = cv2.warpAffine(opaque, onto, (part.shape[1], part.shape[0]))
    covered = warped[..., 3] == 255
    part[covered] = warped[covered]
