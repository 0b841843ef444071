"""Scores of all windows, small enough to travel: positions once, one byte per score and photo."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F64, I64
from crossview.geo.points import EARTH_RADIUS_M, unroll_lon, wrap_lon
from crossview.retrieval.places import Answer

NOT_SEARCHED = 0  # the code of a window without a score; codes 1 to 255 run from low to high


@dataclass(frozen=True)
class Cells:
    """Where heat is drawn: windows, or squares that each stand for the best of several windows."""

    lat: F64  # [M] degrees
    lon: F64
    of_window: I64  # [N] the cell of each window
    spacing_m: float

    @property
    def merged(self) -> bool:
        """Whether any cell stands for more than one window."""
        return len(self.lat) < len(self.of_window)


def cells(lat: F64, lon: F64, stride_m: float, limit: int) -> Cells:
    """One cell per window [N], or as many windows per cell as it takes to keep to ``limit``."""
    unrolled = unroll_lon(lon)
    side_m, of_window = stride_m, np.arange(len(lat))
    while of_window.size and of_window.max() >= max(1, limit):
        side_m *= 2.0
        of_window = _squares(lat, unrolled, side_m)
    share = np.maximum(np.bincount(of_window), 1)
    return Cells(
        np.bincount(of_window, lat) / share,
        np.asarray(wrap_lon(np.bincount(of_window, unrolled) / share)),
        of_window,
        side_m,
    )


def _squares(lat: F64, lon: F64, side_m: float) -> I64:
    """The number of the square that holds each point, counted without gaps."""
    step = np.degrees(side_m / EARTH_RADIUS_M)
    across = step / np.cos(np.radians(lat.mean()))
    keys = np.stack([np.floor(lat / step), np.floor(lon / across)], axis=1)
    numbers: I64 = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


def positions_record(given: Cells) -> dict[str, object]:
    """Positions as base64 of little-endian float64, and their spacing in metres."""
    return {"lat": _b64(given.lat, "<f8"), "lon": _b64(given.lon, "<f8"),
            "spacing_m": given.spacing_m, "merged": given.merged}  # fmt: skip


def scores_record(answer: Answer, given: Cells) -> dict[str, object] | None:
    """One byte per cell (the best of its windows) and the scores that codes 1 and 255 stand for.

    None when the answer has no score, or not one per window of the index.
    """
    scores = np.asarray(answer.scores, np.float64)
    known = np.isfinite(scores)
    if len(scores) != len(given.of_window) or not known.any():
        return None
    best = np.full(len(given.lat), -np.inf)
    np.maximum.at(best, given.of_window[known], scores[known])
    searched = np.isfinite(best)
    low, high = float(best[searched].min()), float(best[searched].max())
    codes = np.full(len(best), NOT_SEARCHED)
    codes[searched] = 1 + np.rint(254.0 * (best[searched] - low) / max(high - low, 1e-12))
    return {"low": round(low, 4), "high": round(high, 4), "codes": _b64(codes, "u1")}


def limit_of_cells(answers: Sequence[Answer], room: int) -> int:
    """How many cells fit when all photos' codes and the positions share ``room`` bytes."""
    per_cell = 4.0 / 3.0 * (len(answers) + 16.0)
    return max(256, int(room / per_cell))


def _b64(values: F64 | I64, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")
