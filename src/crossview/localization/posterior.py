"""From scores to how likely each piece of ground is.

Every window owns its stride cell: the square of ground, one stride wide, whose nearest pin it is.
The posterior is a softmax of the scores over all cells, times what is left beside the probability
that the picture was taken elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64, I64
from crossview.geo.points import LatLon, distances_m, local_m

_HALF_DIAGONAL = 0.5 * math.sqrt(2.0)  # of a cell, in strides
_SLACK = 1.05  # grids that follow a projection are not exactly square on the ground
_POINTS = 10  # per side of a cell, when its part inside of a circle is measured


def masses(scores: ArrayLike, temperature: float) -> F64:
    """Softmax [N] of cosines [N] at a temperature (in cosines); NaN was not searched and gets 0."""
    given = np.asarray(scores, np.float64)
    powers = np.exp((given - np.nanmax(given)) / temperature)
    powers[np.isnan(powers)] = 0.0
    shares: F64 = powers / powers.sum()
    return shares


def evidence(scores: ArrayLike, temperature: float, weights: ArrayLike | None = None) -> float:
    """Logarithm of the mean of exp(score / temperature) over the searched cells.

    How well the region as a whole explains the picture. ``weights``: how many cells each score
    stands for.
    """
    given = np.asarray(scores, np.float64)
    known = ~np.isnan(given)
    count = np.ones(known.sum()) if weights is None else np.asarray(weights, np.float64)[known]
    highest = float(given[known].max())
    powers = np.exp((given[known] - highest) / temperature)
    return highest / temperature + math.log(float(count @ powers) / float(count.sum()))


def cell_of(lat: F64, lon: F64, stride_m: float, place: LatLon) -> int | None:
    """The window [N] whose cell holds a place; None where no cell does."""
    distances = distances_m(place, lat, lon)
    row = int(np.argmin(distances))
    return row if distances[row] <= _HALF_DIAGONAL * _SLACK * stride_m else None


def cells_within(
    lat: F64, lon: F64, stride_m: float, pin: LatLon, radius_m: float
) -> tuple[I64, F64]:
    """Rows of the cells that reach into a circle about ``pin``, and the share of each inside."""
    distances = distances_m(pin, lat, lon)
    rim = _HALF_DIAGONAL * stride_m
    rows = np.flatnonzero(distances < radius_m + rim)
    shares = np.ones(len(rows))
    cut = distances[rows] > radius_m - rim
    shares[cut] = _shares(lat[rows[cut]], lon[rows[cut]], stride_m, pin, radius_m)
    inside = shares > 0.0
    return rows[inside], shares[inside]


def _shares(lat: F64, lon: F64, stride_m: float, pin: LatLon, radius_m: float) -> F64:
    """Share of each cell's grid of points that lies in the circle; cells count as north up."""
    east, north = local_m(pin, lat, lon)
    steps = ((np.arange(_POINTS) + 0.5) / _POINTS - 0.5) * stride_m
    off = np.hypot(
        east[:, None, None] + steps[None, :, None], north[:, None, None] + steps[None, None, :]
    )
    shares: F64 = (off <= radius_m).mean(axis=(1, 2))
    return shares
