"""Heat maps of one pair over fields of view and headings, the part of the tile in view marked."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossview.arrays import F32, U8
from crossview.explain.activation import activation_maps
from crossview.files import atomic_write
from crossview.pairs.loading import Reader, normalised
from crossview.views.crops import drawn_sector, shown

FOVS_DEG = (360.0, 180.0, 90.0, 70.0)
ANGLES_DEG = (0.0, 120.0)  # a panorama is turned by so much before it is cut
EDGES = ((-0.5, "-"), (0.5, "-"), (0.0, ":"))  # of the view, in its widths from ahead
STRENGTH = 0.45  # of the heat over the picture


def draw_attention(path: Path, model: Any, reader: Reader, row: int) -> None:
    """One pair as PNG: each line a field of view and turn, what the network sees, and the tile.

    The tile is drawn with the heat of the same score, and with the wedge (of an unrolled one: the
    columns) that the cut panorama sees. The model must be in eval mode.
    """
    from matplotlib.figure import Figure

    raw = reader.batch(0, 0, [row])
    spec, polar = reader.views.ground, reader.views.aerial.polar
    cases = [(fov, angle) for fov in FOVS_DEG for angle in ANGLES_DEG]
    figure = Figure(figsize=(9.0, 1.6 * len(cases)), dpi=110, layout="constrained")
    axes = figure.subplots(len(cases), 2, squeeze=False, width_ratios=[1 if polar else 3, 1])
    for (fov, angle), (left, right) in zip(cases, axes, strict=True):
        heading = drawn_sector(spec.width_px, fov, angle).heading_deg
        seen = shown(raw.ground[0], spec, fov, heading)
        ground, above = _maps(model, reader, seen.pixels, raw.aerial[0])
        left.imshow(_over(seen.pixels, ground))
        left.set_title(f"{fov:g} degrees, turned by {angle:g}", fontsize=8, loc="left")
        right.imshow(_over(raw.aerial[0], above))
        (_mark_columns if polar else _mark_wedge)(right, raw.aerial.shape[2], seen.heading_deg, fov)
        for axis in (left, right):
            axis.set_xticks([])
            axis.set_yticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _maps(model: Any, reader: Reader, ground: U8, aerial: U8) -> tuple[F32, F32]:
    device = next(model.parameters()).device
    views = reader.views
    images = normalised(ground[None], views.ground, device).contiguous()
    tiles = normalised(aerial[None], views.aerial, device).contiguous()
    with torch.no_grad():
        vectors: tuple[Tensor, Tensor] = model.ground(images), model.aerial(tiles)
    ours, _ = activation_maps(model, "ground", images, vectors[1])
    theirs, _ = activation_maps(model, "aerial", tiles, vectors[0])
    return ours[0].cpu().numpy(), theirs[0].cpu().numpy()


def _over(image: U8, heat: F32) -> F32:
    """The picture in grey with the heat on it, [h, w, 3] in [0, 1]."""
    from matplotlib import colormaps

    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255.0, 3, axis=2)
    colour = colormaps["inferno"](heat)[..., :3]
    mixed: F32 = ((1 - STRENGTH) * grey + STRENGTH * colour).astype(np.float32)
    return mixed


def column_of(azimuth_deg: float, width: int) -> float:
    """Where in an unrolled tile, or a panorama, lies that azimuth; -0.5 is its left edge."""
    return (azimuth_deg + 180.0) / 360.0 % 1.0 * width - 0.5


def _mark_columns(axis: Any, width: int, heading_deg: float, fov_deg: float) -> None:
    """Upright lines at both edges of the view in an unrolled tile, and one ahead."""
    for turn, style in EDGES if fov_deg < 360.0 else ():
        column = column_of(heading_deg + turn * fov_deg, width)
        axis.axvline(column, linestyle=style, color="white", linewidth=1.2)


def _mark_wedge(axis: Any, side: int, heading_deg: float, fov_deg: float) -> None:
    """Lines from the tile's centre along both edges of the view, and one ahead."""
    if fov_deg >= 360.0:
        return
    centre = (side - 1) / 2.0
    for turn, style in EDGES:
        bearing = math.radians(heading_deg + turn * fov_deg)
        end = (centre + side * math.sin(bearing), centre - side * math.cos(bearing))
        axis.plot((centre, end[0]), (centre, end[1]), style, color="white", linewidth=1.2)
    axis.set_xlim(-0.5, side - 0.5)
    axis.set_ylim(side - 0.5, -0.5)
