"""Planned contrasts: resamples of seeds, towns and queries together, Holm over the secondary."""

from dataclasses import replace

import numpy as np
import pytest

from crossview.studies.study import Planned, Result
from crossview.studies.study_tables import compute_planned_contrasts, hits, resample_means

TESTS = ("same, 90 degrees", "same, 70 degrees")
PLANNED = Planned(
    prediction="b is above a",
    measure="R@10",
    tests=TESTS,
    primary=("a", "b"),
    secondary=(("a", "c"), ("b", "c")),
)
TOWNS = ["x"] * 20 + ["y"] * 10 + ["z"] * 30


def result(row, seed, shift):
    rng = np.random.default_rng((len(row), ord(row), seed))
    ranks = {test: np.maximum(1, rng.integers(1, 40, 60) - shift).tolist() for test in TESTS}
    return Result(
        study="s", row=row, seed=seed, settings={}, tests={}, losses={}, steps=1, seconds=0.0,
        data="d", versions={}, ranks=ranks, towns={"same": TOWNS},
    )  # fmt: skip


ROWS = {
    row: [result(row, seed, shift) for seed in (1, 2, 3)]
    for row, shift in (("a", 0), ("b", 25), ("c", 24))
}


def test_hits_are_shares_of_ranks_at_most_k_in_the_mean_over_tests():
    one = ROWS["a"][0]
    slow = [
        100.0 * np.mean([one.ranks[test][query] <= 10 for test in TESTS]) for query in range(60)
    ]
    assert hits(one, PLANNED).tolist() == pytest.approx(slow)


def test_a_query_without_a_match_is_no_hit():
    one = ROWS["a"][0]
    lost = replace(one, ranks={test: [0] * 60 for test in TESTS})
    assert hits(lost, PLANNED).tolist() == [0.0] * 60


def test_the_difference_is_the_plain_mean_and_large_ones_are_told_from_none():
    contrasts = {(c.first, c.second): c for c in compute_planned_contrasts(PLANNED, ROWS)}
    slow = np.mean([
        np.mean([x <= 10 for t in TESTS for x in two.ranks[t]])
        - np.mean([x <= 10 for t in TESTS for x in one.ranks[t]])
        for one, two in zip(ROWS["a"], ROWS["b"], strict=True)
    ])  # fmt: skip
    primary = contrasts["a", "b"]
    assert primary.difference == pytest.approx(100.0 * slow)
    assert primary.low < primary.difference < primary.high
    assert primary.low > 0
    assert contrasts["b", "c"].low < 0 < contrasts["b", "c"].high
    assert (primary.seeds, primary.towns, primary.queries) == (3, 3, 60)


def test_the_primary_stands_alone_and_the_others_are_corrected_for_each_other():
    primary, *others = compute_planned_contrasts(PLANNED, ROWS)
    assert primary.primary
    assert primary.p_holm == primary.p
    smaller, larger = sorted(others, key=lambda c: c.p)
    assert smaller.p_holm == min(1.0, 2 * smaller.p)
    assert larger.p_holm == max(larger.p, smaller.p_holm)


def test_one_seed_makes_no_contrast():
    rows = {name: results[:1] for name, results in ROWS.items()}
    assert compute_planned_contrasts(PLANNED, rows) == []


def test_towns_that_disagree_widen_what_queries_alone_would_say():
    alike = np.tile(np.array([1.0, -1.0] * 30), (3, 1))
    apart = np.tile(np.array([3.0] * 20 + [0.0] * 10 + [-2.0] * 30), (3, 1))
    narrow, wide = (resample_means(values, TOWNS).std() for values in (alike, apart))
    assert wide > 5 * narrow


def test_seeds_that_disagree_widen_it_too():
    agreeing = np.ones((3, 60))
    assert resample_means(agreeing, TOWNS).std() == 0
    assert resample_means(agreeing * [[0.0], [1.0], [5.0]], TOWNS).std() > 0.5
