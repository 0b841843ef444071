"""What several photos say together: of all windows, and of one spot that they were taken at.

The likelihood of a photo at a window is exp(score / temperature): the posterior of a single photo
is then the softmax of its scores. Photos are taken as independent, given where the camera stood.
"""

from __future__ import annotations

import numpy as np

from crossview.arrays import F64, Bool
from crossview.errors import require
from crossview.index.store import Index
from crossview.localization.posterior import DEFAULT_TEMPERATURE
from crossview.localization.queries import Query
from crossview.localization.search import mark_searched, price_turns, search
from crossview.localization.similarity import score_turns
from crossview.views.crops import compute_bin_coverage

__all__ = ["DEFAULT_TEMPERATURE", "measure_log_likelihood", "measure_turns", "normalise"]


def measure_log_likelihood(index: Index, query: Query, temperature: float) -> F64:
    """Logarithm of the likelihood [N] of each window, at the best turn of the best reading.

    Up to a constant of the photo; -inf where the hints exclude a window. ``temperature`` in
    cosines.
    """
    _require_temperature(temperature)
    scores = search(index, [query])[0].scores
    return _exclude(scores.astype(np.float64) / temperature)


def measure_turns(
    index: Index, query: Query, temperature: float, reading: int | None = None
) -> F64:
    """:func:`measure_log_likelihood` of every turn, [N, J]; the best of a row is the window's.

    At turn s the photo's middle looks 360 s / J + ``query.turned_deg`` degrees clockwise from the
    window's up. Turns that a known heading excludes are -inf, others cost what they do in a search.
    ``reading``: which of the query's; None: the one that a search keeps.
    """
    _require_temperature(temperature)
    if reading is None:
        reading = search(index, [query])[0].reading if len(query.readings) > 1 else 0
    bins = index.manifest.model.azimuth_bins
    seen = compute_bin_coverage(query.readings[reading].fov_deg, bins, query.turned_deg)
    turns = np.empty((index.count, bins))
    for rows, block in index.blocks():
        cosines = score_turns(query.vectors[reading], block, bins, seen)
        costs = price_turns(query, index.up_bearing_deg[rows], bins)
        turns[rows] = cosines if costs is None else cosines - costs
    turns /= temperature
    turns[~_mark(index, query)] = -np.inf
    return turns


def normalise(log_weights: F64) -> F64:
    """Weights of any shape whose logarithms are known up to a constant, of sum 1.

    Raises :class:`InvalidValue` where all are -inf.
    """
    highest = log_weights.max()
    require(bool(np.isfinite(highest)), "nothing is left: every window is excluded by some hint.")
    weights: F64 = np.exp(log_weights - highest)
    weights /= weights.sum()
    return weights


def _mark(index: Index, query: Query) -> Bool:
    hints = query.hints
    if hints.near is None and hints.area is None:
        return np.ones(index.count, np.bool_)
    return mark_searched(index, hints)


def _exclude(log_likelihood: F64) -> F64:
    log_likelihood[np.isnan(log_likelihood)] = -np.inf
    return log_likelihood


def _require_temperature(temperature: float) -> None:
    require(0.0 < temperature < np.inf, f"a temperature is > 0, got {temperature}.")
