"""Claims: where a place that somebody names stands among all windows that were searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossview.arrays import F32, I64
from crossview.geo.points import LatLon, measure_distances_m
from crossview.index.selection import Held, count_windows
from crossview.localization.answer import Answer, Claim, Standing
from crossview.localization.posterior import (
    compute_posterior,
    compute_probability,
    find_cell,
    find_right_cells,
)
from crossview.localization.search import find_listed, turn_to_north


def add_claim(index: Held, answer: Answer, place: LatLon, heading_deg: F32) -> Answer:
    """The answer with what becomes of a claimed place.

    It is judged by the best of the windows whose cells reach within 25 m of it, as probabilities
    and hits are. ``heading_deg`` [N] clockwise from each window's up. Places stay as they are.
    """
    rows, _ = find_right_cells(index, place)
    searched = rows[np.isfinite(answer.scores[rows])]
    claim = Claim(
        latlon=place,
        inside=bool(rows.size),
        nearest_m=float(measure_distances_m(place, index.lat, index.lon).min()),
        standing=_find_standing(index, answer, place, searched, heading_deg)
        if searched.size
        else None,
    )
    return replace(answer, claim=claim)


def _find_standing(
    index: Held, answer: Answer, place: LatLon, rows: I64, heading_deg: F32
) -> Standing:
    """Of the best of the windows ``rows``; ties count against the claim."""
    scores = answer.scores
    row = int(rows[np.argmax(scores[rows])])
    windows = round(count_windows(index, np.isfinite(scores)))
    as_good = count_windows(index, scores >= scores[row]) - (scores[rows] >= scores[row]).sum()
    footprint = index.footprint(row)
    posterior = compute_posterior(index, answer)
    return Standing(
        rank=1 + round(float(as_good)),
        windows=windows,
        percentile=100.0 * count_windows(index, scores < scores[row]) / windows,
        score=float(scores[row]),
        heading_deg=turn_to_north(heading_deg[row], footprint),
        footprint=footprint,
        window=row,
        listed=find_listed(index, answer.places, row),
        probability=None if posterior is None else compute_probability(index, posterior, place),
        areas=_find_areas(index, answer, place),
    )


def _find_areas(index: Held, answer: Answer, place: LatLon) -> tuple[float, ...] | None:
    """Coverages of the calibrated areas that hold the cell of a place, as coverage is measured."""
    if answer.confidence is None:
        return None
    cell = find_cell(index.lat, index.lon, index.manifest.stride_m, place)
    areas = () if cell is None else answer.confidence.areas
    return tuple(area.coverage for area in areas if cell in area.rows)
