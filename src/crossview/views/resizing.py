"""Resizing by the rule that a model was trained with; rules differ enough to cost accuracy."""

from __future__ import annotations

import numpy as np

from crossview.arrays import U8
from crossview.views.spec import Resize


def resized(pixels: U8, size: tuple[int, int], rule: Resize) -> U8:
    """``pixels`` [H, W, 3] as [h, w, 3] with ``size`` = (h, w).

    "area": every output pixel averages the area it covers (bilinear where a side grows).
    "linear": OpenCV's exact bilinear, which aliases when shrinking, as Sample4Geo and SinGeo do.
    "linear-antialias": Pillow's bilinear, whose filter widens when shrinking, as torchvision does.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    if rule == "linear-antialias":
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    import cv2

    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    how = cv2.INTER_LINEAR_EXACT
    if rule == "area":
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=how)
    return np.asarray(small, dtype=np.uint8)
