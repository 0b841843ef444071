"""How much room decoded pictures take, before any of them is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.pairs.reading import Files
from crossview.views.decode import picture_size

SAMPLE = 64  # headers that are read where sizes differ from file to file


@dataclass(frozen=True)
class Room:
    """Bytes that a cache of all pictures takes; ``exact`` unless it rests on a sample."""

    bytes: int
    exact: bool


def cache_room(files: Files) -> Room:
    """The room of a cache of these files; of pictures that share their content, less is used."""
    aerial, exact = _aerial_bytes(files)
    return Room(_ground_bytes(files) + aerial, exact)


def _ground_bytes(files: Files) -> int:
    spec = files.views.ground
    if spec.whole or spec.representation == "padded":
        columns = spec.width_px * len(files.table.ground)
    else:
        fovs = np.nan_to_num(files.table.fov_deg, nan=360.0)
        columns = sum(spec.columns(float(fov)) for fov in fovs)
    return 3 * spec.height_px * columns


def _aerial_bytes(files: Files) -> tuple[int, bool]:
    spec, count = files.views.aerial, len(files.table.aerial)
    if spec.whole:
        return 3 * spec.height_px * spec.width_px * count, True
    if not count:
        return 0, True
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).round().astype(int))
    bytes_each = [_stored_bytes(files, int(index)) for index in chosen]
    return round(count * float(np.mean(bytes_each))), False


def _stored_bytes(files: Files, index: int) -> int:
    rows, columns = picture_size(files.table.aerial[index])
    share = float(files.table.metres_per_px[index]) / files.views.aerial.metres_per_px
    if files.decoding == "fast" and share < 1.0:
        eighths = math.ceil(8 * share)
        rows, columns = math.ceil(rows * eighths / 8), math.ceil(columns * eighths / 8)
    return 3 * rows * columns
