"""A matcher that knows only colours: what the embedded world must not be solved by."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from crossview.arrays import F32, U8
from crossview.model.info import ModelInfo, canonical

LEVELS = 6  # per colour channel


class HistogramEmbedder:
    """Square roots of colour shares [B, LEVELS^3]: their dot product is the Bhattacharyya overlap.

    Implements :class:`crossview.model.onnx.Embedder` on the views of another model.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = replace(info, name="colour-histogram", dim=LEVELS**3, azimuth_bins=1)
        self.fingerprint = hashlib.sha256(canonical(self.info)).hexdigest()

    def ground(self, images: U8) -> F32:
        """Histograms of the pixels that the picture really saw."""
        unseen = np.array(self.info.ground.mean_colour, np.uint8)
        return np.stack([_histogram(image[(image != unseen).any(axis=2)]) for image in images])

    def aerial(self, images: U8) -> F32:
        """Histograms of whole windows."""
        return np.stack([_histogram(image.reshape(-1, 3)) for image in images])


def _histogram(pixels: U8) -> F32:
    level = pixels.astype(np.int64) * LEVELS // 256
    cell = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
    counts = np.bincount(cell, minlength=LEVELS**3).astype(np.float32)
    shares: F32 = np.sqrt(counts / max(1.0, float(counts.sum())))
    return shares
