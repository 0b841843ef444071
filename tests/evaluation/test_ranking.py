"""Ranks against slow loops in float64, on data of many kinds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossview.errors import InvalidValue
from crossview.evaluation import fast_scores
from crossview.evaluation.fast_scores import Plain, Turning
from crossview.evaluation.ranking import count_at_least, nearest, rank
from crossview.evaluation.task import Pairs, Relation


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def relation(queries, references, right, near=(), **more):
    pairs = [Pairs.of(np.array(p, dtype=np.int64).reshape(-1, 2)) for p in (right, near)]
    return Relation(queries=queries, references=references, right=pairs[0], near=pairs[1], **more)


def random_case(seed, queries=30, references=50, dim=6, grain=0):
    """Vectors, some of them equal, and a relation with queries of no, one and many matches."""
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(n, dim)) for n in (queries, references)]
    if grain:  # few different values: many exact ties
        vectors = [np.round(v * grain) + 0.5 for v in vectors]
    drawn = rng.integers((0, 0), (queries, references), (2 * queries, 2))
    kinds = np.unique(drawn, axis=0)
    near = rng.random(len(kinds)) < 0.3
    return unit(vectors[0]), unit(vectors[1]), kinds[~near], kinds[near]


def slow_rank(query, q, r, right, near, near_counts):
    """Straight from the definition."""
    scores = [float(np.dot(q[query].astype(np.float64), v.astype(np.float64))) for v in r]
    own = [b for a, b in right if a == query]
    left_out = {b for a, b in near if a == query} if not near_counts else set()
    if not own:
        return 0
    best = max(scores[b] for b in own)
    others = [s for b, s in enumerate(scores) if b not in own and b not in left_out]
    return 1 + sum(s >= best - 1e-12 for s in others)


@given(seed=st.integers(0, 10_000), grain=st.sampled_from([0, 1, 2]), near_counts=st.booleans())
def test_ranks_are_those_of_the_definition(seed, grain, near_counts):
    q, r, right, near = random_case(seed, grain=grain)
    given_relation = relation(30, 50, right, near, near_counts=near_counts)
    found = rank(Plain(q, r), given_relation).of_queries()
    slow = [slow_rank(n, q, r, right.tolist(), near.tolist(), near_counts) for n in range(30)]
    assert found.tolist() == slow


@pytest.mark.parametrize("name", ["_LEAST_FOR_INT8", "TILE"])
def test_neither_8_bits_nor_the_size_of_a_tile_change_a_rank(name, monkeypatch):
    """With every filter, on data that leaves the coarse one unsure of much."""
    q, r, right, near = random_case(3, queries=40, references=300, dim=8, grain=2)
    case = relation(40, 300, right, near)
    before = rank(Plain(q, r), case)
    monkeypatch.setattr(fast_scores, name, 7)
    monkeypatch.setattr("crossview.evaluation.ranking.TILE", fast_scores.TILE)
    after = rank(Plain(q, r), case)
    assert len(Plain(q, r).filters()) == (2 if name == "_LEAST_FOR_INT8" else 1)
    np.testing.assert_array_equal(before.above, after.above)
    np.testing.assert_array_equal(before.near_above, after.near_above)


@pytest.mark.parametrize("spread", [1.0, 0.02])
def test_8_bits_find_the_ranks_of_float64_on_vectors_as_networks_give_them(spread, monkeypatch):
    """Wide vectors; with little spread the scores are so close that the filter must give up."""
    monkeypatch.setattr(fast_scores, "_LEAST_FOR_INT8", 0)
    rng = np.random.default_rng(0)
    r = unit(rng.normal(size=(5000, 96)) * spread + 1.0)
    q = unit(r[:600].astype(np.float64) + rng.normal(size=(600, 96)) * 0.4 * spread)
    pairs = np.stack([np.arange(600)] * 2, axis=1)
    found = rank(Plain(q, r), relation(600, 5000, pairs)).of_queries()
    exact = q.astype(np.float64) @ r.astype(np.float64).T
    own = exact[np.arange(600), np.arange(600)]
    slow = (exact >= own[:, None] - 1e-12).sum(axis=1)
    np.testing.assert_array_equal(found, slow)
    assert 1 < slow.max() < 5000


def test_turning_vectors_are_compared_at_their_best_turn():
    """Against every turn of every pair, one by one."""
    rng = np.random.default_rng(5)
    bins, dim = 5, 20
    q, r = unit(rng.normal(size=(12, dim))), unit(rng.normal(size=(17, dim)))
    seen = rng.random((12, bins)).astype(np.float32)
    seen[:4, 2:] = 0.0
    space = Turning(q, r, bins, seen)
    slow = np.array([[slow_turn(a, b, w, bins) for b in r] for a, w in zip(q, seen, strict=True)])
    rows, columns = np.indices(slow.shape).reshape(2, -1)
    np.testing.assert_allclose(space.exact(rows, columns), slow.ravel(), atol=1e-12)
    pairs = np.stack([np.arange(12), np.arange(12)], axis=1)
    found = rank(space, relation(12, 17, pairs)).of_queries()
    np.testing.assert_array_equal(
        found, [1 + (np.delete(s, n) >= s[n] - 1e-12).sum() for n, s in enumerate(slow)]
    )


def slow_turn(query, reference, seen, bins):
    """The best cosine over all turns, only over bins that the query sees."""
    q, r = query.reshape(bins, -1).astype(float), reference.reshape(bins, -1).astype(float)
    best = -np.inf
    for turn in range(bins):
        turned = np.roll(r, -turn, axis=0)
        top = (seen[:, None] * q * turned).sum()
        best = max(
            best, top / np.sqrt((seen[:, None] * q**2).sum() * (seen[:, None] * turned**2).sum())
        )
    return best


@pytest.mark.parametrize("least_for_int8", [0, 1 << 60])
@pytest.mark.parametrize("k", [1, 10])
def test_the_nearest_are_those_of_a_full_sort(least_for_int8, k, monkeypatch):
    monkeypatch.setattr(fast_scores, "_LEAST_FOR_INT8", least_for_int8)
    rng = np.random.default_rng(1)
    q, r = unit(rng.normal(size=(300, 16))), unit(rng.normal(size=(4500, 16)))
    found, score = nearest(Plain(q, r), Pairs.of(np.empty((0, 2), int)), k)
    exact = q.astype(np.float64) @ r.astype(np.float64).T
    order = np.argsort(-exact, axis=1)[:, :k]
    np.testing.assert_array_equal(found, order)
    np.testing.assert_allclose(score, np.take_along_axis(exact, order, axis=1), atol=1e-12)


def test_a_match_that_ties_comes_after_the_wrong_ones_and_short_lists_are_filled_up():
    q = unit(np.array([[1.0, 0.0]]))
    r = unit(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    found, score = nearest(Plain(q, r), Pairs.of(np.array([[0, 0]])), 4)
    assert found.tolist() == [[1, 0, 2, -1]]
    assert np.isnan(score[0, 3])


def test_many_thresholds_of_one_query_are_counted_in_pieces():
    rng = np.random.default_rng(2)
    q, r = unit(rng.normal(size=(2, 5))), unit(rng.normal(size=(40, 5)))
    queries = np.repeat([0, 1], 1500)
    thresholds = rng.uniform(-1, 1, 3000)
    exact = q.astype(np.float64) @ r.astype(np.float64).T
    slow = (exact[queries] >= thresholds[:, None]).sum(axis=1)
    np.testing.assert_array_equal(count_at_least(Plain(q, r), queries, thresholds), slow)


def test_vectors_that_do_not_fit_the_relation_are_refused():
    with pytest.raises(InvalidValue, match="2 query and 3 reference vectors do not fit"):
        rank(
            Plain(np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)), relation(3, 3, [])
        )
