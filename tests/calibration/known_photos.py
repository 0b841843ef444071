"""Known photos drawn from a law whose exact posterior is a softmax of the scores.

Every cell's score is normal; the true cell's has a mean of ``signal`` spreads more. Then the
posterior is a softmax at the temperature spread / signal (by the ratio of two normal densities).
"""

from __future__ import annotations

import numpy as np

from crossview.calibration.known_photos import KnownPhotos

SPREAD, SIGNAL, CELLS, PLACES = 0.1, 3.0, 200, 10
TEMPERATURE = SPREAD / SIGNAL


def drawn(n: int, seed: int, *, signal: float = SIGNAL, per_spot: int = 1) -> KnownPhotos:
    """``n`` photos over as many regions of 200 lone cells; places are the ten best cells."""
    rng = np.random.default_rng(seed)
    true_cell = rng.integers(0, CELLS, n)
    scores = rng.normal(0.0, 1.0, (n, CELLS))
    scores[np.arange(n), true_cell] += signal
    scores = (SPREAD * scores).astype(np.float32)
    order = np.argsort(-scores, axis=1)
    best = order[:, :PLACES]
    others = scores.copy()
    others[np.arange(n), true_cell] = -np.inf
    left = -np.sort(-others, axis=1)[:, :-1]
    near = np.take_along_axis(scores, best, axis=1)[..., None]
    falling = np.take_along_axis(scores, order, axis=1)
    return KnownPhotos(
        scores=falling,
        counts=np.ones_like(falling),
        out_scores=left,
        out_counts=np.ones_like(left),
        near_scores=near,
        near_shares=np.ones_like(near),
        hits=best == true_cell[:, None],
        places=np.ones(best.shape, dtype=bool),
        truth=scores[np.arange(n), true_cell].astype(np.float64),
        error_m=np.where(best[:, 0] == true_cell, 3.0, 300.0),
        chance=np.full(n, 1.0 / CELLS),
        chance_error_m=np.full(n, 300.0),
        spot=np.arange(n) // per_spot,
        centre_error_m=np.full(n, 4.0),
        peak_m=np.full(n, np.nan),
        peak_deg=np.full(n, np.nan),
        heading_error_deg=np.full(n, np.nan),
        ground_light=np.full(n, np.nan),
    )
