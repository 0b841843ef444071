from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import index_of_panoramas, spheres, toy, turned

from crossview.errors import InvalidValue
from crossview.localization.belief import measure_log_likelihood, measure_turns, normalise
from crossview.localization.hints import Hints
from crossview.localization.queries import make_queries
from crossview.localization.search import search

EMBEDDER = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))
PANORAMAS = spheres(20)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER)


def query_of(picture, **hints):
    return next(make_queries([picture], [Hints(**hints)], EMBEDDER))


@pytest.mark.parametrize(
    "hints", [{}, {"heading_deg": 100.0}, {"near": INDEX.latlon(3), "within_m": 30.0}]
)
def test_the_best_turn_of_each_window_is_what_the_search_gives(hints):
    query = query_of(turned(PANORAMAS[3], 90.0), **hints)
    turns = measure_turns(INDEX, query, 0.02)
    assert turns.shape == (20, INDEX.manifest.model.azimuth_bins)
    np.testing.assert_allclose(turns.max(axis=1), measure_log_likelihood(INDEX, query, 0.02))
    found = search(INDEX, [query])[0]
    searched = np.isfinite(found.scores)
    np.testing.assert_allclose(
        turns.max(axis=1)[searched], found.scores[searched] / 0.02, rtol=1e-5
    )
    assert (turns[~searched] == -np.inf).all()
    step = 360.0 / turns.shape[1]
    assert turns[3].argmax() * step + query.turned_deg == found.heading_deg[3]


def test_weights_are_normalised_whatever_their_size():
    weights = normalise(np.array([[-1e6, -np.inf], [-1e6, -1e6 + np.log(2.0)]]))
    np.testing.assert_allclose(weights, [[0.25, 0.0], [0.25, 0.5]])
    with pytest.raises(InvalidValue, match="every window"):
        normalise(np.full(3, -np.inf))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(InvalidValue, match="temperature"):
        measure_log_likelihood(INDEX, query_of(PANORAMAS[0]), temperature)
