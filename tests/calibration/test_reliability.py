from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossview.calibration.calibrate import (
    brier,
    calibration_error,
    error_by_chance,
    measure_rejection,
    measure_reliability,
)
from crossview.errors import InvalidValue
from crossview.stats import share_in_order


def slow_error(stated, came_true, bins):
    """Distinct probabilities only: the n rising values in ``bins`` runs, as even as they come."""
    pairs = sorted(zip(stated, came_true, strict=True))
    edges = [len(pairs) * number // bins for number in range(bins + 1)]
    error = 0.0
    for low, high in pairwise(edges):
        group = pairs[low:high]
        gap = sum(p for p, _ in group) - sum(y for _, y in group)
        error += abs(gap) / len(pairs)
    return error


@settings(max_examples=30)
@given(st.integers(15, 80), st.integers(0, 1000))
def test_the_error_is_that_of_the_obvious_loop(n, seed):
    rng = np.random.default_rng(seed)
    stated, came_true = rng.random(n), rng.random(n) < 0.5
    assert calibration_error(stated, came_true) == pytest.approx(slow_error(stated, came_true, 15))


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=1, max_size=60), st.integers(0, 99))
def test_the_order_of_the_pictures_changes_nothing(stated, seed):
    rng = np.random.default_rng(seed)
    came_true = rng.random(len(stated)) < 0.5
    order = rng.permutation(len(stated))
    shuffled = calibration_error(np.array(stated)[order], came_true[order])
    assert shuffled == pytest.approx(calibration_error(stated, came_true))


def test_equal_probabilities_share_a_bin():
    curve = measure_reliability([0.25] * 40, [1] * 10 + [0] * 30)
    assert (curve.stated.tolist(), curve.came_true.tolist(), curve.n.tolist()) == (
        [0.25], [0.25], [40],
    )  # fmt: skip
    assert curve.error == 0.0


def test_bins_hold_equally_many_pictures():
    assert set(measure_reliability(np.linspace(0, 1, 150), np.ones(150)).n.tolist()) == {10}


def test_certainty_that_is_wrong_costs_most():
    assert calibration_error([1.0, 1.0], [0, 0]) == 1.0
    assert brier([1.0, 0.0, 0.5], [0, 0, 1]) == pytest.approx((1 + 0 + 0.25) / 3)


def test_small_samples_show_an_error_by_chance():
    stated = np.random.default_rng(0).random(3000)
    assert error_by_chance(stated[:60]) > 0.1
    assert error_by_chance(stated) < 0.03


@pytest.mark.parametrize("bad", [([1.2], [1]), ([np.nan], [1]), ([0.5, 0.5], [1]), ([], [])])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(InvalidValue):
        calibration_error(*bad)


def test_the_rejection_curve_counts_every_threshold():
    curve = measure_rejection([2.0, 3.0, 4.0], [1.0, 2.0, 2.5])
    for threshold, rejected, accepted in zip(
        curve.threshold, curve.false_reject, curve.false_accept, strict=True
    ):
        assert rejected == sum(x < threshold for x in (2.0, 3.0, 4.0)) / 3
        assert accepted == pytest.approx(sum(x >= threshold for x in (1.0, 2.0, 2.5)) / 3)
    pairs = [(a > b) + 0.5 * (a == b) for a in (2.0, 3.0, 4.0) for b in (1.0, 2.0, 2.5)]
    assert curve.area == pytest.approx(sum(pairs) / 9)


def test_the_area_is_the_share_of_pairs_in_order_as_scipy_ranks_them():
    rng = np.random.default_rng(4)
    inside, outside = rng.integers(2, 12, 70) / 4.0, rng.integers(0, 9, 50) / 4.0  # with ties
    assert measure_rejection(inside, outside).area == pytest.approx(
        share_in_order(inside, outside), abs=1e-12
    )


def test_a_curve_needs_both_sides():
    with pytest.raises(InvalidValue, match="elsewhere"):
        measure_rejection([1.0], [])
