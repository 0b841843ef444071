"""A prior weighs the cells: against slow sums, and what becomes of probabilities and areas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import index_of_panoramas, spheres, toy
from tests.localization.test_calibration_record import KIND, calibration

from crossview.errors import InvalidValue
from crossview.geo.points import measure_distance_m, move_point
from crossview.localization.hints import Hints, Prior
from crossview.localization.locate import locate
from crossview.localization.posterior import (
    DEFAULT_TEMPERATURE,
    WRONG_PRIORS,
    compute_log_prior,
    find_credible,
)
from crossview.outputs.records import stands_out

EMBEDDER = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))
PANORAMAS = spheres(20)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER)


def find(window, **hints):
    return locate(INDEX, PANORAMAS[window], hints=Hints(**hints), embedder=EMBEDDER)


def test_the_prior_of_a_cell_is_a_normal_density_and_its_share_of_wrong_priors():
    prior = Prior(place=move_point(INDEX.latlon(7), east_m=12.0, north_m=-5.0), sigma_m=40.0)
    stride = INDEX.manifest.stride_m
    variance = 40.0**2 + stride**2 / 12.0
    for row, logarithm in enumerate(compute_log_prior(INDEX, prior)):
        away = measure_distance_m(prior.place, INDEX.latlon(row))
        density = math.exp(-(away**2) / (2.0 * variance)) / (2.0 * math.pi * variance)
        mass = (1.0 - WRONG_PRIORS) * density * stride**2 + WRONG_PRIORS / INDEX.count
        assert logarithm == pytest.approx(math.log(mass), rel=1e-6)


def test_ranking_adds_the_temperature_times_the_prior_and_scores_stay_the_picture_s():
    prior = Prior(place=INDEX.latlon(12), sigma_m=60.0)
    plain, weighed = find(4, places=20), find(4, places=20, prior=prior)
    np.testing.assert_array_equal(plain.scores, weighed.scores)
    log_prior = compute_log_prior(INDEX, prior)
    ranked_by = [
        place.score + DEFAULT_TEMPERATURE * log_prior[place.window] for place in weighed.places
    ]
    assert ranked_by == sorted(ranked_by, reverse=True)
    assert [p.window for p in weighed.places] != [p.window for p in plain.places]
    for place in weighed.places:
        assert place.score == pytest.approx(float(plain.scores[place.window]))


def test_an_answer_says_how_far_the_picture_moved_the_prior():
    here = Prior(place=move_point(INDEX.latlon(4), east_m=20.0, north_m=0.0), sigma_m=30.0)
    shift = find(4, prior=here).prior
    assert shift.first_moved_m == pytest.approx(20.0, abs=0.1)
    posterior = find(4).scores.astype(float) / DEFAULT_TEMPERATURE + compute_log_prior(INDEX, here)
    posterior = np.exp(posterior - posterior.max())
    posterior /= posterior.sum()
    before = np.exp(compute_log_prior(INDEX, here))
    before /= before.sum()
    bits = sum(p * math.log2(p / q) for p, q in zip(posterior, before, strict=True) if p > 0.0)
    assert shift.bits == pytest.approx(bits)
    assert shift.holds > 0.95
    elsewhere = Prior(place=INDEX.latlon(18), sigma_m=5.0)
    contradicted = find(4, prior=elsewhere)
    assert contradicted.places[0].window == 4  # a clear picture is stronger than a wrong prior
    assert contradicted.prior.holds < 0.05
    assert stands_out(contradicted)


def test_probabilities_survive_a_prior(monkeypatch):
    index = index_of_panoramas(PANORAMAS, EMBEDDER)
    monkeypatch.setattr(index.manifest, "calibration", calibration(KIND).to_json())

    def ask(prior):
        hints = Hints(prior=prior)
        return locate(index, PANORAMAS[4], hints=hints, embedder=EMBEDDER)

    plain, right = ask(None), ask(Prior(place=index.latlon(4), sigma_m=30.0))
    assert right.confidence is not None
    assert right.unmeasured == ""
    assert right.places[0].probability > plain.places[0].probability
    assert right.confidence.elsewhere < plain.confidence.elsewhere
    assert right.confidence.refused == plain.confidence.refused
    vague = ask(Prior(place=index.latlon(4), sigma_m=1e6))  # says nothing
    assert vague.places[0].probability == pytest.approx(plain.places[0].probability, rel=1e-3)
    assert vague.confidence.elsewhere == pytest.approx(plain.confidence.elsewhere, rel=1e-3)
    for answer in (right, vague):
        for area in answer.confidence.areas:
            assert answer.places[0].window in area.rows


def test_a_credible_set_is_the_smallest_that_holds_its_share():
    posterior = np.array([0.1, 0.5, 0.05, 0.3, 0.05])
    assert find_credible(posterior, 0.5).tolist() == [1]
    assert find_credible(posterior, 0.6).tolist() == [1, 3]
    assert find_credible(posterior, 0.85).tolist() == [0, 1, 3]


@pytest.mark.parametrize("sigma_m", [0.0, -1.0, math.nan, math.inf, 1e7, True, "30"])
def test_a_standard_deviation_that_cannot_be_is_refused(sigma_m):
    with pytest.raises(InvalidValue):
        Prior(place=INDEX.latlon(0), sigma_m=sigma_m)


def test_a_prior_outside_of_the_region_and_two_priors_are_refused():
    away = move_point(INDEX.latlon(0), east_m=-2000.0, north_m=0.0)
    with pytest.raises(InvalidValue, match="outside of the region: the nearest window is 2"):
        find(4, prior=(away, 30.0))
    assert find(4, prior=(away, 1000.0)).prior is not None
    with pytest.raises(InvalidValue, match="not both"):
        Hints(prior=(INDEX.latlon(0), 30.0), gps_prior=True)
    with pytest.raises(InvalidValue, match="is no prior"):
        Hints(prior=30.0)


def test_hints_of_a_prior_are_written_down():
    prior = Prior(place=INDEX.latlon(0), sigma_m=30.0)
    said = Hints(prior=prior).to_json()["prior"]
    assert said == {
        "lat": prior.place.lat,
        "lon": prior.place.lon,
        "sigma_m": 30.0,
        "source": "given",
    }
    assert Hints(gps_prior=True).to_json() == {"places": 10, "gps_prior": True}
    assert "gps_prior" not in Hints().to_json()
