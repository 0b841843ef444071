import numpy as np
import pytest
from scipy import stats

from crossview.evaluation.evaluation_record import Figure
from crossview.evaluation.run_comparison import (
    POWER,
    Z_POWER,
    Comparison,
    compare_queries,
    compare_trainings,
    correct_together,
    over_trainings,
)


def test_two_runs_on_the_same_queries_are_compared_with_what_could_have_been_detected():
    rng = np.random.default_rng(3)
    first = rng.random(500) < 0.5
    second = first | (rng.random(500) < 0.2)
    compared = compare_queries(first, second, np.arange(500))
    assert compared.low < 0.1 < compared.high
    assert compared.p < 0.001
    assert compared.n == 500
    assert 0.01 < compared.detectable < compared.difference
    same = compare_queries(first, first, np.arange(500))
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_trainings_are_compared_by_a_paired_t():
    compared = compare_trainings([70.0, 72.0, 71.0], [73.0, 74.5, 74.0])
    assert compared.difference == pytest.approx(2.8333, abs=1e-4)
    assert compared.p == pytest.approx(0.00343, abs=1e-4)
    assert compared.low == pytest.approx(2.1162, abs=1e-3)
    assert compared.detectable > compared.difference - compared.low


def test_three_trainings_that_agree_to_the_query_prove_nothing():
    """One query more of 300, three times: without a spread that would be certain."""
    first, second = [0.0, 1 / 3, 2 / 3], [1 / 3, 2 / 3, 1.0]
    compared = compare_trainings(first, second, step=1 / 3)
    assert compared.low < 0 < compared.high
    assert compared.p > 0.05
    assert compared.detectable > compared.difference
    true = np.random.default_rng(0).uniform(0, 1000, (100_000, 2))
    rounding = np.diff(np.round(true) - true).std()
    reach = compared.high - compared.difference
    assert reach == pytest.approx(4.303 * rounding / 3 / np.sqrt(3), rel=0.01)
    wide = compare_trainings([70.0, 72.0, 71.0], [73.0, 74.5, 74.0], step=0.1)
    assert wide == compare_trainings([70.0, 72.0, 71.0], [73.0, 74.5, 74.0])


def test_a_figure_over_trainings_says_so():
    figures = [
        Figure(name="R@1", value=v, low=0, high=100, n=50, unit="%", over="queries, one training")
        for v in (70.0, 72.0, 74.0)
    ]
    mean = over_trainings(figures)
    assert (mean.value, mean.n, mean.over) == (72.0, 3, "trainings")
    assert mean.high - mean.value == pytest.approx(4.303 * 2 / np.sqrt(3), rel=1e-3)
    assert np.isnan(over_trainings(figures[:1]).low)
    agreed = over_trainings([figures[0]] * 3)  # 50 queries: a share is known to 2 points
    assert agreed.high - agreed.value == pytest.approx(4.303 * 2 / np.sqrt(12 * 3), rel=1e-3)


def test_comparisons_that_stand_together_are_corrected_together():
    made = [
        Comparison(difference=1.0, low=0.0, high=2.0, p=p, n=3, detectable=1.0)
        for p in (0.01, 0.04, 0.03)
    ]
    corrected = correct_together(made)
    assert [c.p_holm for c in corrected] == pytest.approx([0.03, 0.06, 0.06])
    assert [c.sure for c in corrected] == [True, False, False]
    assert not any(c.sure for c in made)  # not corrected yet: nothing is sure


def test_what_is_detectable_is_noticed_in_four_of_five_trials():
    assert POWER == 0.8
    assert pytest.approx(stats.norm.ppf(POWER)) == Z_POWER
    first, second = np.random.default_rng(0).random((2, 900)).round()
    error = (second - first).std() / 30.0
    found = compare_queries(first, second, np.arange(900))
    assert found.detectable == pytest.approx((1.96 + 0.8416) * error, rel=1e-4)
