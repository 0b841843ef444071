"""A place that somebody names: where it stands among all windows, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import ORIGIN, index_of_panoramas, spheres, toy, turned
from tests.localization.test_calibration_record import KIND, calibration

from crossview.errors import InvalidValue
from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.localization.answer import Answer
from crossview.localization.claims import add_claim
from crossview.localization.hints import Hints
from crossview.localization.locate import locate
from crossview.localization.posterior import compute_posterior, find_cells_within
from crossview.outputs.records import explain_claim

EMBEDDER = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))
PANORAMAS = spheres(36, seed=4)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER, stride_m=20.0, footprint_m=80.0)
FAR = move_point(ORIGIN, east_m=0, north_m=-5300)


def find(picture=PANORAMAS[14], index=INDEX, **hints):
    return locate(index, picture, hints=Hints(**hints), embedder=EMBEDDER)


def best_of(rows, scores):
    return max((float(scores[row]), row) for row in rows if not np.isnan(scores[row]))


@pytest.mark.parametrize("seed", range(12))
def test_the_rank_is_counted_over_all_windows_from_the_best_one_near_the_claim(seed):
    """Against a loop over windows: those whose cells have ground within 25 m."""
    rng = np.random.default_rng(seed)
    place = move_point(ORIGIN, east_m=rng.uniform(0, 100), north_m=rng.uniform(0, 100))
    answer = find(turned(PANORAMAS[3 * seed], 90.0), claim=place)
    near = find_cells_within(INDEX.lat, INDEX.lon, 20.0, place, 25.0)[0].tolist()
    score, row = best_of(near, answer.scores)
    standing = answer.claim.standing
    better = sum(s >= score for n, s in enumerate(answer.scores.tolist()) if n not in near)
    worse = sum(s < score for s in answer.scores.tolist())
    assert (standing.window, standing.score) == (row, score)
    assert (standing.rank, standing.windows) == (1 + better, 36)
    assert standing.percentile == pytest.approx(100.0 * worse / 36)
    assert (answer.claim.latlon, answer.claim.inside) == (place, True)


def test_the_place_of_the_photo_ranks_first_with_the_heading_of_its_window():
    answer = find(turned(PANORAMAS[14], 90.0), claim=INDEX.latlon(14))
    standing = answer.claim.standing
    assert (standing.rank, standing.window, standing.heading_deg) == (1, 14, 90.0)
    assert standing.percentile == pytest.approx(100.0 * 35 / 36)
    assert (standing.listed, standing.footprint) == (1, answer.places[0].footprint)
    assert (standing.probability, standing.areas) == (None, None)


def test_a_claim_changes_no_place():
    alone, claimed = find(), find(claim=INDEX.latlon(3))
    assert claimed.places == alone.places
    np.testing.assert_array_equal(claimed.scores, alone.scores)
    assert (alone.claim, alone.assumptions) == (None, claimed.assumptions)


def given(scores, place, **changes):
    """A claim judged over scores that are given."""
    answer = Answer(
        photo="a.jpg", sha256="", kind="panorama", fov_deg=360.0, fov_source="panorama",
        assumptions=(), places=(), scores=np.asarray(scores, np.float32), **changes,
    )  # fmt: skip
    return add_claim(INDEX, answer, place, np.zeros(36, np.float32)).claim


def test_equal_scores_count_against_the_claim():
    assert given(np.ones(36), INDEX.latlon(0)).standing.rank == 36 - 4 + 1
    assert given(np.ones(36), INDEX.latlon(0)).standing.percentile == 0.0


def test_neighbours_within_25_metres_do_not_compete_with_each_other():
    scores = np.zeros(36)
    scores[[0, 1, 6]] = 0.9, 0.8, 0.7
    assert given(scores, INDEX.latlon(0)).standing.rank == 1


def test_outside_of_the_region_there_is_no_rank_and_no_error():
    claim = find(claim=FAR).claim
    assert (claim.inside, claim.standing) == (False, None)
    assert claim.nearest_m == pytest.approx(5300, abs=1)
    assert explain_claim(claim) == (
        f"The claimed place, {FAR}, lies outside of this region, 5.3 km from the middle of its "
        "nearest window: nothing can be said of it."
    )


def test_just_outside_of_the_outermost_cells_a_place_within_25_metres_still_counts():
    edge = move_point(INDEX.latlon(0), east_m=-30.0, north_m=0.0)
    assert find(claim=edge).claim.standing.window in (0, 6)
    beyond = move_point(INDEX.latlon(0), east_m=-36.0, north_m=0.0)
    assert not find(claim=beyond).claim.inside


def test_outside_of_the_area_that_was_searched_nothing_is_said():
    claim = find(near=INDEX.latlon(0), within_m=30.0, claim=INDEX.latlon(35)).claim
    assert (claim.inside, claim.standing) == (True, None)
    assert "outside of the area that was searched" in explain_claim(claim)


def test_windows_that_were_not_searched_are_not_counted():
    standing = find(near=INDEX.latlon(0), within_m=30.0, claim=INDEX.latlon(0)).claim.standing
    assert standing.windows == 4


def test_a_probability_is_that_of_a_place_there_and_areas_hold_the_claims_own_cell():
    index = index_of_panoramas(PANORAMAS, EMBEDDER, stride_m=20.0, footprint_m=80.0)
    index.manifest.calibration = calibration(KIND).to_json()
    first = find(index=index).places[0]
    answer = find(index=index, claim=first.latlon)
    standing = answer.claim.standing
    assert standing.probability == first.probability
    assert standing.areas == (0.9, 0.95)
    for row in range(36):
        stated = find(index=index, claim=index.latlon(row)).claim.standing.areas
        assert stated == tuple(a.coverage for a in answer.confidence.areas if row in a.rows)
    assert compute_posterior(index, answer).sum() == pytest.approx(
        1.0 - answer.confidence.elsewhere
    )


def test_the_sentence_says_the_rank_and_that_it_proves_nothing():
    said = explain_claim(find(claim=INDEX.latlon(14)).claim)
    assert said == (
        f"The claimed place, {INDEX.latlon(14)}, ranks 1 of 36 windows: 97 % of them fit worse. It "
        "is place 1 of the list. A high rank does not prove a place, and a low one does not "
        "disprove it."
    )


@pytest.mark.parametrize("claim", [(91, 0), (0, 181), "x", "1,2,3", (1,), 5, "nan,1"])
def test_a_claim_that_is_no_place_is_refused(claim):
    with pytest.raises(InvalidValue, match=r"place|must lie"):
        Hints(claim=claim)


@pytest.mark.parametrize("claim", [(ORIGIN.lat, ORIGIN.lon), str(ORIGIN), ORIGIN])
def test_a_claim_is_written_as_any_place_is(claim):
    hints = Hints(claim=claim)
    assert isinstance(hints.claim, LatLon)
    assert measure_distance_m(hints.claim, ORIGIN) < 0.1
    assert hints.to_json()["claim"] == {"lat": hints.claim.lat, "lon": hints.claim.lon}
