import itertools

import numpy as np
import pytest

from crossview.evaluation.record import Figure
from crossview.evaluation.statistics import (
    cluster_interval,
    compare_queries,
    compare_trainings,
    over_trainings,
    paired_test,
    quantile_interval,
    t_quantile,
)
from crossview.retrieval.truth import wilson


@pytest.mark.parametrize(
    ("share", "freedom", "table"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 9, 2.262),
        (0.8, 4, 0.941),
        (0.975, 500, 1.965),
    ],
)
def test_students_t_is_that_of_the_tables(share, freedom, table):
    assert t_quantile(share, freedom) == pytest.approx(table, abs=6e-4)


def test_wilsons_interval_of_a_perfect_score_does_not_pretend_certainty():
    assert wilson(10, 10) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0, 0) == (0.0, 1.0)
    assert cluster_interval(np.ones(10), np.arange(10)) == wilson(10, 10)


def test_queries_of_one_place_count_as_one_observation():
    """The same hits, once as 200 places, once as 10 places of 20 queries that agree."""
    hits = np.repeat([1.0, 0.0], 100)
    free = cluster_interval(hits, np.arange(200))
    tied = cluster_interval(hits, np.repeat(np.arange(10), 20))
    assert free[1] - free[0] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(200), rel=0.1)
    assert tied[1] - tied[0] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(10), rel=0.15)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        places = rng.random(60) < 0.7
        values = np.repeat(places, 3).astype(float)
        low, high = cluster_interval(values, np.repeat(np.arange(60), 3))
        covered += low <= 0.7 <= high
    assert covered >= 52


def test_the_interval_of_a_median_resamples_places():
    values = np.arange(101.0)
    low, high = quantile_interval(values, np.arange(101), 0.5)
    assert low < 50 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 * np.sqrt(101), rel=0.2)
    wide = quantile_interval(np.repeat(values[::10], 10), np.repeat(np.arange(11), 10), 0.5)
    assert wide[1] - wide[0] > 2 * (high - low)


def test_the_paired_test_of_few_queries_is_the_enumeration_of_all_flips():
    differences = np.array([1.0, 1.0, 0.0, -1.0, 1.0, 1.0])
    flips = itertools.product([-1, 1], repeat=5)
    nonzero = differences[differences != 0]
    slow = np.mean([abs(np.dot(signs, nonzero)) >= 3.0 for signs in flips])
    assert paired_test(differences) == slow
    assert paired_test(np.zeros(9)) == 1.0


def test_the_paired_test_of_many_queries_finds_a_difference_and_no_difference():
    rng = np.random.default_rng(1)
    noise = rng.integers(-1, 2, 400).astype(float)
    assert paired_test(noise - noise.mean()) > 0.9
    assert paired_test(np.where(rng.random(400) < 0.2, 1.0, 0.0)) < 0.001
    clusters = np.repeat(np.arange(4), 100)  # four places only: nothing can be shown
    assert paired_test(np.ones(400), clusters) == pytest.approx(2 / 16)


def test_p_values_of_equal_runs_are_spread_evenly():
    rng = np.random.default_rng(2)
    found = [paired_test(rng.choice([-1.0, 1.0], 10)) for _ in range(300)]
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.09


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
