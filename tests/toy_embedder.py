"""An embedder without a network: block colours through a seeded matrix. Deterministic, fast.

Equal pictures give equal vectors, similar pictures similar ones, and with ``azimuth_bins`` J > 1
block j of the vector depends on the columns of bin j alone, as in a real orientation-aware model.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from crossview.model import ModelInfo, encode_info
from crossview.views.spec import ViewSpec

ROWS = 4  # bands of rows whose mean colours are looked at


def toy_info(**changes) -> ModelInfo:
    """A small model's facts: strips of 16 x 64, polar aerial views of 40 m; ``changes`` replace."""
    info = ModelInfo(
        name="toy",
        ground=ViewSpec(side="ground", height_px=16, width_px=64, representation="padded"),
        aerial=ViewSpec(side="aerial", height_px=16, width_px=64, footprint_m=40.0, polar=True),
        dim=64,
        fov_seen_deg=(40.0, 360.0),
    )
    return replace(info, **changes)


class ToyEmbedder:
    """Implements the ``Embedder`` protocol; both branches are the same function of the pixels."""

    def __init__(self, info: ModelInfo | None = None, *, seed: int = 0) -> None:
        self.info = info or toy_info()
        self.bins = max(self.info.azimuth_bins, 8)  # columns are looked at in this many groups
        self.fingerprint = hashlib.sha256(encode_info(self.info) + bytes([seed])).hexdigest()
        wide = ROWS * 3 * self.bins // self.info.azimuth_bins
        shape = (wide, self.info.dim // self.info.azimuth_bins)
        self._matrix = np.random.default_rng(seed).standard_normal(shape)

    def ground(self, images):
        return self._embed(images)

    def aerial(self, images):
        return self._embed(images)

    def _embed(self, images):
        colours = np.stack([block_colours(image, ROWS, self.bins) for image in images])  # [B,J',R3]
        groups = colours.reshape(len(images), self.info.azimuth_bins, -1)
        vectors = np.einsum("bjk,kd->bjd", groups, self._matrix).reshape(len(images), -1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def block_colours(image, rows, columns):
    """Mean colours [columns, rows * 3] of a grid of blocks, centred at mid-grey."""
    bands = np.array_split(image.astype(np.float64) / 255.0 - 0.45, rows, axis=0)
    blocks = [np.array_split(band.mean(axis=0), columns, axis=0) for band in bands]
    means = [[block.mean(axis=0) for block in band] for band in blocks]
    return np.array(means).transpose(1, 0, 2).reshape(columns, rows * 3)
