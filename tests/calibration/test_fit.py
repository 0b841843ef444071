import math
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import optimize, stats
from tests.calibration.known_photos import CELLS, TEMPERATURE, drawn

from crossview.calibration.calibrate import (
    calibration_error,
    cross_validate,
    cross_validate_sigmas,
    figures,
    judge,
    state_sigmas,
)
from crossview.calibration.fit import (
    CalibrationGoal,
    _loss,
    best_temperature,
    conformal_quantile,
    evidences,
    explain_too_few,
    fit,
    fit_spread,
    photos_needed,
    probabilities,
    separation,
)
from crossview.calibration.known_photos import KnownPhotos
from crossview.errors import InvalidValue
from crossview.localization.calibration_record import Reach, Spread, Stratum
from crossview.localization.posterior import measure_evidence, measure_prominence

WANTED = CalibrationGoal(share=0.001)
FITTED = fit(drawn(1500, seed=0), WANTED)


def test_the_temperature_is_the_one_of_the_law_that_the_photos_follow():
    assert pytest.approx(TEMPERATURE, rel=0.05) == FITTED.temperature


def test_the_temperature_is_where_scipy_finds_the_least_loss():
    photos = drawn(400, seed=1)
    peer = optimize.minimize_scalar(
        lambda log_t: _loss(photos, math.exp(log_t)), bounds=(math.log(1e-3), 0.0), method="bounded"
    )
    ours = best_temperature(photos)
    assert ours == pytest.approx(math.exp(peer.x), rel=5e-3)
    assert _loss(photos, ours) <= peer.fun + 1e-5


def test_probabilities_come_true_on_other_photos():
    others = drawn(3000, seed=1)
    found = judge(others, FITTED, WANTED.share)
    assert 0.3 < found.right.mean() < 0.8
    assert calibration_error(found.probability, found.right) < 0.03
    stated = probabilities(others, FITTED, WANTED.share)
    assert stated.shape == (3000, 10)
    assert (stated.sum(axis=1) <= 1.0 + 1e-5).all()


def test_sets_hold_the_truth_as_often_as_asked():
    found = judge(drawn(3000, seed=2), FITTED, WANTED.share)
    np.testing.assert_allclose(found.covered.mean(axis=0), [0.9, 0.95], atol=0.02)
    assert (found.area[:, 0] <= found.area[:, 1]).all()
    assert (found.area >= 1 / CELLS).all()
    assert found.area.mean() < 0.25


@pytest.mark.parametrize(("n", "coverage"), [(50, 0.9), (100, 0.95), (60, 0.8)])
def test_over_many_small_calibrations_coverage_is_what_was_asked_and_little_more(n, coverage):
    """Exchangeable photos: between the coverage asked and that plus 1 / (n + 1)."""
    rng = np.random.default_rng(3)
    draws = rng.exponential(size=(2000, n + 1))
    covered = [row[-1] <= conformal_quantile(row[:-1], coverage) for row in draws]
    margin = 3.0 * math.sqrt(coverage * (1.0 - coverage) / len(draws))
    assert coverage - margin <= np.mean(covered) <= coverage + 1 / (n + 1) + margin


def test_a_model_that_sees_nothing_still_gets_honest_sets_and_probabilities():
    blind = fit(drawn(400, seed=4, signal=0.0), WANTED)
    found = judge(drawn(2000, seed=5, signal=0.0), blind, WANTED.share)
    np.testing.assert_allclose(found.covered.mean(axis=0), [0.9, 0.95], atol=0.03)
    assert found.area.mean() > 0.85
    assert calibration_error(found.probability, found.right) < 0.02


def test_the_quantile_is_the_obvious_one():
    values = np.random.default_rng(6).permutation(99).astype(float)
    assert conformal_quantile(values, 0.9) == 89.0  # the 90th of 99
    assert conformal_quantile(values, 0.95) == 94.0
    assert conformal_quantile(values, 0.999) == math.inf


def test_the_share_of_refused_photos_is_the_one_allowed():
    found = judge(drawn(3000, seed=7), FITTED, WANTED.share)
    assert found.refused.mean() == pytest.approx(0.05, abs=0.03)
    assert found.refused_taken_out.mean() > found.refused.mean() + 0.1


def test_odds_of_being_elsewhere_are_those_of_the_law():
    """By Bayes the log odds against the region fall by exactly the evidence."""
    assert FITTED.slope == pytest.approx(1.0, abs=0.15)
    photos = drawn(2000, seed=8)
    inside = evidences(photos.scores, photos.counts, FITTED.temperature)
    outside = evidences(photos.out_scores, photos.out_counts, FITTED.temperature)
    stated = FITTED.elsewhere(np.r_[inside, outside], share=0.5)
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    assert calibration_error(stated, truth) < 0.03


def test_evidence_that_tells_nothing_leaves_the_odds_as_they_were():
    same = np.random.default_rng(9).normal(size=500)
    bias, slope = separation(same, same)
    assert abs(bias - slope * same.mean()) < 0.05
    assert separation(same, same + 1.0) == (0.0, 0.0)  # more evidence elsewhere: no use of it
    assert separation(same, np.empty(0)) == (0.0, 0.0)


def test_the_logistic_regression_is_scipys():
    rng = np.random.default_rng(3)
    inside, outside = rng.normal(3.0, 2.0, 300), rng.normal(0.5, 1.5, 200)
    evidence = np.r_[inside, outside]
    label = np.r_[np.zeros(300), np.ones(200)]
    weight = np.r_[np.full(300, 0.5 / 300), np.full(200, 0.5 / 200)]
    scaled = (evidence.mean() - evidence) / evidence.std()

    def loss(solution):
        odds = solution[0] + solution[1] * scaled
        return weight @ (np.logaddexp(0.0, odds) - label * odds) + 0.5e-3 * solution[1] ** 2

    peer = optimize.minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-10}).x
    slope = peer[1] / evidence.std()
    bias = peer[0] + evidence.mean() * slope
    assert separation(inside, outside) == pytest.approx((bias, slope), rel=1e-5)


def test_evidence_of_many_photos_is_that_of_each():
    photos = drawn(5, seed=10)
    together = evidences(photos.scores, photos.counts, 0.04)
    alone = [measure_evidence(row, 0.04) for row in photos.scores]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_photos_needed_leave_five_beyond_the_set():
    assert [photos_needed(c) for c in (0.8, 0.9, 0.95, 0.99)] == [25, 50, 100, 500]
    # With that many, luck moves the coverage of one calibration by a few points only.
    for coverage in (0.8, 0.9, 0.95):
        n = photos_needed(coverage)
        rank = math.ceil((n + 1) * coverage - 1e-9)
        assert stats.beta(rank, n + 1 - rank).ppf(0.05) > coverage - 0.15


def test_too_few_photos_are_told_with_what_would_do():
    assert "--coverage 90" in explain_too_few("panoramas", 60, CalibrationGoal())
    assert "Bring 50" in explain_too_few("panoramas", 20, CalibrationGoal())
    assert CalibrationGoal(coverages=(0.9,)).photos == 50
    assert CalibrationGoal(coverages=(0.9,), false_reject=0.01).photos == 99


@pytest.mark.parametrize("bad", [{"coverages": (1.0,)}, {"share": 0.0}, {"coverages": ()}])
def test_what_cannot_be_asked_is_refused(bad):
    with pytest.raises(InvalidValue):
        CalibrationGoal(**bad)


def test_held_out_figures_are_of_photos_their_fit_has_not_seen():
    photos = drawn(200, seed=11, per_spot=4)
    found = cross_validate(photos, WANTED)
    np.testing.assert_array_equal(found.right, photos.hits[:, 0])  # in the photos' order
    told = figures(photos, found, WANTED, cell_km2=0.0001)
    assert (told["n"], told["spots"]) == (200, 50)
    assert told["recall"]["1"]["value"] == pytest.approx(photos.hits[:, 0].mean())
    assert told["within_25m_by_chance"] == pytest.approx(1 / CELLS)
    nine = told["sets"][0]
    assert nine["median_km2"] == pytest.approx(nine["median_share"] * CELLS * 0.0001)
    assert nine["coverage"]["low"] < nine["coverage"]["value"] < nine["coverage"]["high"]
    assert told["calibration_error"] < 3 * told["calibration_error_by_chance"]
    assert 0.5 < told["told_apart"] < 1.0


def test_one_extra_photo_of_a_spot_stays_in_its_fold():
    from crossview.calibration.calibrate import _folds

    spot = np.random.default_rng(12).integers(0, 12, 300)
    fold = _folds(spot)
    assert {len(set(fold[spot == name])) for name in set(spot.tolist())} == {1}
    assert np.bincount(fold).min() > 30


def test_unless_asked_otherwise_sets_hold_90_and_95_percent_and_one_in_twenty_may_be_refused():
    wanted = CalibrationGoal()
    assert wanted.coverages == (0.9, 0.95)
    assert wanted.false_reject == 0.05
    assert wanted.share == 0.05  # of the pictures that will be asked, from elsewhere
    assert wanted.photos == 100  # five of them beyond the larger set


def test_photos_are_judged_by_fits_to_four_fifths_of_the_spots(monkeypatch):
    sizes = []

    def watched(photos, wanted):
        sizes.append(len(photos))
        return fit(photos, wanted)

    monkeypatch.setattr("crossview.calibration.calibrate.fit", watched)
    cross_validate(drawn(100, 0), WANTED)
    assert sizes == [80] * 5


def posed(n, seed, *, peaks=True):
    """Known photos whose errors are normal, as wide as their summits in both directions."""
    rng = np.random.default_rng(seed)
    photos = drawn(n, seed=seed, signal=50.0)  # the first place is always right
    peak_m, peak_deg = rng.uniform(1.0, 4.0, (2, n))
    off = rng.normal(0.0, 1.0, (3, n))
    return replace(
        photos,
        error_m=0.5 * peak_m * np.hypot(off[0], off[1]),
        peak_m=peak_m if peaks else np.full(n, np.nan),
        peak_deg=peak_deg,
        heading_error_deg=0.25 * peak_deg * np.abs(off[2]),
        centre_error_m=rng.uniform(0.0, 6.0, n),
    )


def test_sigmas_are_those_of_the_law_that_the_errors_follow():
    """Of a normal law in two directions, 68.27 % lie within 1.515 of its standard deviations."""
    spread = fit_spread(posed(4000, seed=3))
    assert spread.position == pytest.approx(
        0.5 * math.sqrt(-2.0 * math.log(1.0 - 0.6827)), rel=0.05
    )
    assert spread.heading == pytest.approx(0.25, rel=0.05)
    assert spread.centre_m == pytest.approx(6.0 * 0.6827, rel=0.05)


def test_sigmas_hold_on_other_photos_and_few_gross_errors_change_little():
    spread = fit_spread(posed(1000, seed=3))
    others = posed(3000, seed=4)
    position_m, heading_deg = state_sigmas(others.peak_m, others.peak_deg, spread)
    assert (others.error_m <= position_m).mean() == pytest.approx(0.68, abs=0.04)
    assert (others.heading_error_deg <= heading_deg).mean() == pytest.approx(0.68, abs=0.04)
    assert (others.heading_error_deg <= 2.0 * heading_deg).mean() == pytest.approx(0.954, abs=0.02)
    gross = posed(1000, seed=3)
    gross.heading_error_deg[:20] = 170.0
    assert fit_spread(gross).heading == pytest.approx(spread.heading, rel=0.1)


def test_places_without_a_summit_have_the_sigma_of_their_windows_centres():
    spread = fit_spread(posed(100, seed=3, peaks=False))
    assert spread.position is None
    assert state_sigmas(np.array([np.nan]), np.array([np.nan]), spread)[0] == [spread.centre_m]
    whole = Spread(centre_m=4.0, position=0.5, heading=None)
    position_m, heading_deg = state_sigmas(np.array([np.nan, 3.0]), np.array([2.0, 2.0]), whole)
    assert position_m.tolist() == [4.0, 1.5]
    assert np.isnan(heading_deg).all()


def test_too_few_right_places_give_no_sigma():
    photos = posed(19, seed=3)
    assert fit_spread(photos) is None
    assert fit_spread(posed(20, seed=3)) is not None
    wrong = posed(200, seed=3)
    wrong.hits[:] = False
    assert fit_spread(wrong) is None
    assert "value" not in str(figures(wrong, judge(wrong, FITTED, 0.05), WANTED, 1.0)["poses"])


def test_sigmas_are_judged_by_fits_to_other_spots():
    photos = posed(500, seed=5)
    position_m, _ = cross_validate_sigmas(photos)
    whole = fit_spread(photos)
    assert np.isfinite(position_m).all()
    assert not np.allclose(position_m, whole.position * photos.peak_m, rtol=1e-9)
    np.testing.assert_allclose(position_m, whole.position * photos.peak_m, rtol=0.1)
    poses = figures(photos, judge(photos, FITTED, 0.05), WANTED, 1.0)["poses"]
    one, two = poses["position"]["within"]
    assert one["value"] == pytest.approx(0.68, abs=0.06)
    assert two["value"] == pytest.approx(0.99, abs=0.02)
    assert poses["heading"]["median"]["value"] == pytest.approx(np.median(photos.heading_error_deg))


def of_two_conditions(n, seed):
    """Half of the pictures show their place clearly, half hardly; nothing says which."""
    clear, dim = drawn(n, seed, signal=9.0), drawn(n, seed + 1, signal=1.5)
    joined = {
        field.name: np.concatenate([getattr(clear, field.name), getattr(dim, field.name)])
        for field in fields(KnownPhotos)
    }
    return KnownPhotos(**joined), np.repeat([True, False], n)


def test_strata_cover_clear_and_dim_pictures_each():
    known, _ = of_two_conditions(1500, 3)
    future, clear = of_two_conditions(1500, 7)
    together, apart = (
        judge(future, fit(known, CalibrationGoal(coverages=(0.8,), strata=strata)), 0.05)
        for strata in (1, 2)
    )
    assert together.covered.mean() == pytest.approx(0.8, abs=0.03)
    assert together.covered[clear].mean() > 0.99
    assert together.covered[~clear].mean() < 0.65
    assert apart.covered[clear].mean() >= 0.8 - 0.03
    assert apart.covered[~clear].mean() == pytest.approx(0.8, abs=0.03)


def by_day_and_night(n, seed):
    """Of photos by night the true cell may be any of the best hundred; scores are as by day."""
    rng = np.random.default_rng(seed)
    photos = drawn(2 * n, seed)
    day = np.repeat([True, False], n)
    ranks = rng.integers(0, 100, 2 * n)
    by_night = photos.scores[np.arange(2 * n), ranks].astype(np.float64)
    light = np.where(day, rng.uniform(0.6, 0.9, 2 * n), rng.uniform(1.0, 1.8, 2 * n))
    return replace(photos, truth=np.where(day, photos.truth, by_night), ground_light=light), day


def test_strata_cover_night_and_day_each_if_only_their_light_tells_them_apart():
    known, _ = by_day_and_night(800, 3)
    future, day = by_day_and_night(800, 7)
    together, apart = (
        fit(known, CalibrationGoal(coverages=(0.8, 0.9), strata=strata)) for strata in (1, 2)
    )
    covered = judge(future, together, 0.05).covered[:, 0]
    assert covered[day].mean() > 0.97
    assert covered[~day].mean() < 0.65
    covered = judge(future, apart, 0.05).covered[:, 0]
    assert covered[day].mean() == pytest.approx(0.8, abs=0.04)
    assert covered[~day].mean() == pytest.approx(0.8, abs=0.04)
    for reach in apart.reaches:
        (daylight,) = reach.strata
        assert daylight.prominence_below is None
        assert 0.85 < daylight.ground_light_below < 1.05
        assert daylight.below_best < reach.below_best


def test_a_picture_gets_the_limit_of_its_stratum():
    reach = Reach(
        coverage=0.9, below_best=0.1,
        strata=(Stratum(prominence_below=0.2, below_best=0.4),
                Stratum(prominence_below=0.3, below_best=0.2)),
    )  # fmt: skip
    assert reach.limit([0.1, 0.2, 0.25, 0.3, 0.9]).tolist() == [0.4, 0.2, 0.2, 0.1, 0.1]
    assert reach.largest_limit == 0.4
    assert Reach(coverage=0.9, below_best=0.1).limit(0.5) == 0.1


def test_a_picture_whose_light_is_not_known_gets_the_largest_limit_where_light_matters():
    strata = (
        Stratum(ground_light_below=0.8, below_best=0.1),
        Stratum(ground_light_below=1.0, below_best=0.3),
    )
    reach = Reach(coverage=0.9, below_best=0.2, strata=strata)
    assert reach.limit([0.5] * 4, [0.7, 0.8, 1.0, np.nan]).tolist() == [0.1, 0.3, 0.2, 0.3]
    assert reach.limit(0.5) == 0.3


def test_prominence_is_the_best_score_above_the_middle_one_however_cells_are_grouped():
    scores = np.array([0.9, np.nan, 0.5, 0.4, 0.1, 0.0])
    assert measure_prominence(scores) == pytest.approx(0.5)
    assert measure_prominence([0.9, 0.45, 0.05, -1.0], [1, 2, 2, 0]) == pytest.approx(0.45)


def test_strata_take_as_many_times_more_photos():
    assert CalibrationGoal(strata=3).photos == 3 * CalibrationGoal().photos
    with pytest.raises(InvalidValue, match="1 to 20 strata"):
        CalibrationGoal(strata=0)
