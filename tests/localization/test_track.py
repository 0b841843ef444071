"""Paths: how belief moves over the ground, and what a walk gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossview.localization.track import _Ground


@given(seed=st.integers(0, 1000), reach_m=st.sampled_from([3.0, 8.0, 20.0, 33.0]))
def test_belief_spreads_as_a_slow_loop_spreads_it(seed, reach_m):
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(-70, 70, (40, 2)), axis=0)
    east, north = (8.0 * cells.T).astype(float)
    ground = _Ground(east, north, 8.0)
    mass = rng.random(len(cells)) * (rng.random(len(cells)) < 0.5)
    half = math.ceil(reach_m / 8.0)
    offsets = [(x, y) for x in range(-half, half + 1) for y in range(-half, half + 1)]
    part = {o: min(max(reach_m / 8.0 + 0.5 - math.hypot(*o), 0.0), 1.0) for o in offsets}
    whole = sum(part.values())
    slow = [
        sum(
            mass[j] * part.get((int(x - cells[j][0]), int(y - cells[j][1])), 0.0) / whole
            for j in range(len(cells))
        )
        for x, y in cells
    ]
    assert ground.spread(mass, reach_m) == pytest.approx(np.array(slow), abs=1e-12)
