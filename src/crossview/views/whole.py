"""Pictures of a data set as the papers take them: the file squashed or unrolled to the input."""

from __future__ import annotations

import math

import numpy as np

from crossview.arrays import U8
from crossview.views.polar import authors_polar
from crossview.views.resizing import resized
from crossview.views.spec import ViewSpec


def whole_view(pixels: U8, spec: ViewSpec, *, fast: bool = False) -> U8:
    """The view [h, w, 3] of a whole file [H, W, 3]: ``keep_rows`` of it, resized or unrolled.

    Unrolled pictures are truncated to integers, as GeoDTR stores them (``views.polar``). ``fast``:
    by area whatever the rule, and unrolled with OpenCV's fixed-point bilinear.
    """
    first, last = (round(share * len(pixels)) for share in spec.keep_rows)
    kept = pixels[first:last]
    if spec.polar:
        size = (spec.height_px, spec.width_px)
        return authors_polar(kept, *size, how="fast" if fast else "exact").astype(np.uint8)
    return resized(kept, (spec.height_px, spec.width_px), "area" if fast else spec.resize)


def needed_px(spec: ViewSpec) -> tuple[int, int]:
    """Rows and columns of a file from which :func:`whole_view` still only shrinks."""
    first, last = spec.keep_rows
    if spec.polar:
        return 2 * spec.height_px, 2 * spec.height_px
    return math.ceil(spec.height_px / (last - first)), spec.width_px
