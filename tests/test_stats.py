"""Intervals and tests of plain numbers, against tables, scipy, and slow and obvious loops."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy import stats as peer

from crossview import stats
from crossview.errors import CrossviewError, InvalidValue
from crossview.stats import (
    cluster_interval,
    cluster_intervals,
    compute_paired_p,
    holm,
    quantile_interval,
    share_in_order,
    t_quantile,
    t_two_sided,
    wilson,
)


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
    assert compute_paired_p(differences) == slow
    assert compute_paired_p(np.zeros(9)) == 1.0


def test_the_paired_test_of_many_queries_finds_a_difference_and_no_difference():
    rng = np.random.default_rng(1)
    noise = rng.integers(-1, 2, 400).astype(float)
    assert compute_paired_p(noise - noise.mean()) > 0.9
    assert compute_paired_p(np.where(rng.random(400) < 0.2, 1.0, 0.0)) < 0.001
    clusters = np.repeat(np.arange(4), 100)  # four places only: nothing can be shown
    assert compute_paired_p(np.ones(400), clusters) == pytest.approx(2 / 16)


def test_p_values_of_equal_runs_are_spread_evenly():
    rng = np.random.default_rng(2)
    found = [compute_paired_p(rng.choice([-1.0, 1.0], 10)) for _ in range(300)]
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.09


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (150, 200)])
def test_wilson_intervals_hold_the_share_and_solve_their_equation(hits, n):
    low, high = wilson(hits, n)
    assert 0.0 <= low <= hits / n <= high <= 1.0
    for edge in {low, high} - {0.0, 1.0}:
        assert abs(hits / n - edge) == pytest.approx(
            1.959964 * math.sqrt(edge * (1 - edge) / n), rel=1e-6
        )


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (150, 200), (1, 8884)])
def test_wilsons_interval_is_scipys(hits, n):
    theirs = peer.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_a_base_install_needs_no_scipy_for_intervals_and_says_what_students_t_needs(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert cluster_interval(np.ones(10), np.arange(10)) == wilson(10, 10)
    assert holm([0.02]) == [0.02]
    for call in (lambda: t_quantile(0.975, 2), lambda: share_in_order([1.0], [0.0])):
        with pytest.raises(CrossviewError, match=r"needs scipy.*\n.*crossview\[report\]"):
            call()


@pytest.mark.parametrize("freedom", [1, 2, 5, 40])
def test_students_p_is_the_area_of_both_tails(freedom):
    t = np.linspace(-1.3, 1.3, 200_001)
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    between = np.trapezoid(scale * (1 + t**2 / freedom) ** (-(freedom + 1) / 2), t)
    assert t_two_sided(1.3, freedom) == pytest.approx(1 - between, abs=1e-9)
    assert t_two_sided(-1.3, freedom) == t_two_sided(1.3, freedom)
    assert t_two_sided(t_quantile(0.975, freedom), freedom) == pytest.approx(0.05, abs=1e-12)


def test_every_column_has_the_interval_that_it_has_alone():
    rng = np.random.default_rng(5)
    values = (rng.random((80, 3)) < [0.2, 0.7, 1.0]).astype(float)
    clusters = rng.integers(0, 20, 80)
    low, high = cluster_intervals(values, clusters, seed=4)
    for column in range(3):
        alone = cluster_interval(values[:, column], clusters, seed=4)
        assert (low[column], high[column]) == pytest.approx(alone, abs=1e-12)
    assert (low[2], high[2]) == wilson(20, 20)


def test_the_bootstrap_draws_whole_clusters_a_thousand_times():
    rng = np.random.default_rng(6)
    values, clusters = rng.random(30), rng.integers(0, 7, 30)
    draws = np.random.default_rng(9).integers(0, 7, (1000, 7))
    members = [values[clusters == name] for name in np.unique(clusters)]
    means = [np.concatenate([members[name] for name in drawn]).mean() for drawn in draws]
    slow = np.quantile(means, [0.025, 0.975])
    assert cluster_interval(values, clusters, seed=9) == pytest.approx(tuple(slow), abs=1e-12)
    assert stats.RESAMPLES == 1000


def test_no_value_has_no_interval():
    with pytest.raises(InvalidValue, match="at least one value"):
        cluster_interval([], [])
    with pytest.raises(InvalidValue, match="at least one value"):
        quantile_interval([], [], 0.5)


def test_holm_multiplies_the_smallest_by_the_count_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_holm_rejects_what_stepping_down_by_hand_rejects():
    """At every level: reject the smallest while it is at most level / (tests that are left)."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        p = rng.random(rng.integers(1, 12)) ** 3
        corrected = np.array(holm(list(p)))
        for level in (0.01, 0.05, 0.2):
            rejected = np.zeros(len(p), bool)
            for step, one in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
                if p[one] > level / (len(p) - step):
                    break
                rejected[one] = True
            assert (rejected == (corrected <= level)).all()


def test_the_share_in_order_counts_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)
    slow = np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b])
    assert share_in_order(a, b) == pytest.approx(slow)
