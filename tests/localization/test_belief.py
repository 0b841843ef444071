import math
from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import index_of_panoramas, spheres, toy, turned
from tests.localization.test_locate import photo_out_of

from crossview.errors import InvalidValue
from crossview.geo.points import measure_distance_m
from crossview.localization.belief import (
    locate_together,
    measure_log_likelihood,
    measure_turns,
    normalise,
    sum_log_odds,
    turn_together,
)
from crossview.localization.hints import Hints, Prior
from crossview.localization.locate import locate
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


def photo_of(window, heading_deg):
    """A photo of 90 degrees out of the panorama of a window, and its heading."""
    return photo_out_of(turned(PANORAMAS[window], heading_deg), 90.0)


FOUR = [photo_of(6, heading) for heading in (45.0, 135.0, 225.0, 315.0)]
HINTS = Hints(fov_deg=90.0, places=3)


def test_photos_of_one_spot_have_one_place_and_each_says_what_it_contributed():
    answer = locate_together(INDEX, EMBEDDER, FOUR, HINTS)
    assert answer.places[0].window == 6
    assert len(answer.places) == 3
    spot = answer.spot
    assert spot.turns == "unknown"
    assert len(answer.together) == 4
    alone_right = [photo.alone_m < 1.0 for photo in answer.together]
    assert (
        [photo.bits > 1.0 for photo in answer.together] == alone_right == [True, True, False, True]
    )
    assert all(photo.foreign < 0.2 for photo in answer.together)
    assert 0.75 < spot.first_share < 0.81  # the cell of the window reaches beyond 25 m
    assert measure_distance_m(spot.mean, INDEX.latlon(6)) < 20.0
    turns = [photo.heading_deg - answer.together[0].heading_deg for photo in answer.together]
    np.testing.assert_allclose(np.mod(turns, 360.0), [0.0, 90.0, 180.0, 270.0])
    assert answer.confidence is None
    alone = [locate(INDEX, photo, hints=HINTS, embedder=EMBEDDER) for photo in FOUR]
    np.testing.assert_allclose(answer.scores, np.mean([a.scores for a in alone], axis=0), rtol=1e-5)


def test_a_photo_of_another_spot_is_said_to_contradict_the_others():
    answer = locate_together(INDEX, EMBEDDER, [*FOUR[:3], photo_of(15, 90.0)], HINTS)
    assert answer.places[0].window == 6
    assert [photo.foreign > 0.5 for photo in answer.together] == [False, False, False, True]
    stranger = answer.together[3]
    assert stranger.bits < 0.0
    assert measure_distance_m(stranger.alone, INDEX.latlon(15)) < 1.0
    assert stranger.alone_m == pytest.approx(measure_distance_m(INDEX.latlon(15), INDEX.latlon(6)))


def test_relative_turns_narrow_what_photos_say():
    free = locate_together(INDEX, EMBEDDER, FOUR[:2], HINTS)
    known = locate_together(INDEX, EMBEDDER, FOUR[:2], HINTS, turns_deg=[0.0, 90.0])
    wrong = locate_together(INDEX, EMBEDDER, FOUR[:2], HINTS, turns_deg=[0.0, 270.0])
    assert (known.spot.turns, known.places[0].window) == ("given", 6)
    assert known.spot.first_share >= free.spot.first_share > wrong.spot.first_share
    assert known.together[1].heading_deg == free.together[1].heading_deg


def test_a_common_turn_adds_up_all_own_turns_that_fit_it():
    rng = np.random.default_rng(0)
    bins, step = 8, 45.0
    own = rng.normal(0.0, 2.0, (3, bins))
    table, heading = turn_together(own, 4.0, 90.0, 10.0)
    variance = 10.0**2 + step**2 / 12.0
    for n in range(3):
        for common in range(bins):
            weights = []
            for turn in range(bins):
                off = (turn * step + 4.0 - common * step - 90.0 + 180.0) % 360.0 - 180.0
                weights.append(math.exp(-(off**2) / (2.0 * variance)))
            terms = [w / sum(weights) * math.exp(own[n, turn]) for turn, w in enumerate(weights)]
            assert table[n, common] == pytest.approx(math.log(sum(terms)))
            assert heading[n, common] == int(np.argmax(terms)) * step + 4.0


def test_odds_of_photos_multiply_unless_a_photo_is_foreign():
    odds = [np.array([[4.0], [0.0]]), np.array([[1.0], [1.0]])]
    expected = [math.log(0.9 * 4.0 + 0.1), math.log(0.1)]
    np.testing.assert_allclose(sum_log_odds(odds)[:, 0], expected)


def test_a_prior_weighs_what_photos_say_together():
    prior = Prior(place=INDEX.latlon(3), sigma_m=10.0)
    answer = locate_together(INDEX, EMBEDDER, FOUR, replace(HINTS, prior=prior))
    assert answer.prior.prior == prior
    assert answer.prior.first_moved_m == pytest.approx(
        measure_distance_m(answer.places[0].latlon, prior.place)
    )


@pytest.mark.parametrize(
    ("photos", "turns", "hints", "said"),
    [
        (FOUR[:1], None, HINTS, "two to"),
        (FOUR, [0.0, 90.0], HINTS, "4 photos, but 2 turns"),
        (FOUR[:2], [0.0, np.nan], HINTS, "turns lie in"),
        (FOUR[:2], None, replace(HINTS, heading_deg=10.0), "Give the turns"),
    ],
)
def test_what_cannot_be_taken_together_is_refused(photos, turns, hints, said):
    with pytest.raises(InvalidValue, match=said):
        locate_together(INDEX, EMBEDDER, photos, hints, turns_deg=turns)


def test_a_heading_is_that_of_the_first_photo():
    hints = replace(HINTS, heading_deg=45.0)
    answer = locate_together(INDEX, EMBEDDER, FOUR, hints, turns_deg=[0.0, 90.0, 180.0, 270.0])
    found = [photo.heading_deg for photo in answer.together]
    np.testing.assert_allclose(found, [45.0, 135.0, 225.0, 315.0])
