import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossview.errors import BadIndex, InvalidValue
from crossview.index import similarity
from crossview.index.similarity import score_queries, score_query, score_turns
from crossview.views.crops import compute_bin_coverage


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def slow(query, reference, bins, seen):
    """The cosine over the visible sector for every turn, as the formula says, in float64."""
    q, r = (v.astype(np.float64).reshape(bins, -1) for v in (query, reference))
    cosines = []
    for s in range(bins):
        dot = sum(seen[j] * (q[j] @ r[(j + s) % bins]) for j in range(bins))
        q2 = sum(seen[j] * (q[j] @ q[j]) for j in range(bins))
        r2 = sum(seen[j] * (r[(j + s) % bins] @ r[(j + s) % bins]) for j in range(bins))
        cosines.append(dot / (math.sqrt(q2) * math.sqrt(r2)))
    return cosines


@given(bins=st.sampled_from([2, 3, 8]), fov=st.floats(30.0, 360.0), seed=st.integers(0, 10_000))
def test_scores_are_the_best_of_all_turns_of_the_slow_formula(bins, fov, seed):
    rng = np.random.default_rng(seed)
    query, refs, seen = unit(rng, bins * 3), unit(rng, 5, bins * 3), compute_bin_coverage(fov, bins)
    best, heading = score_query(query, refs, bins, seen)
    for n, reference in enumerate(refs):
        turns = slow(query, reference, bins, seen.astype(float))
        assert best[n] == pytest.approx(max(turns), abs=1e-5)
        assert turns[round(heading[n] * bins / 360)] == pytest.approx(max(turns), abs=1e-5)


@pytest.mark.parametrize("bins", [1, 3, 8])
def test_all_turns_are_those_of_the_slow_formula_and_the_search_keeps_the_best(bins, monkeypatch):
    monkeypatch.setattr(similarity, "_WORKING_FLOATS", 50)  # many small tiles
    rng = np.random.default_rng(bins)
    query, refs, seen = (
        unit(rng, bins * 3),
        unit(rng, 7, bins * 3),
        compute_bin_coverage(90.0, bins),
    )
    turns = score_turns(query, refs, bins, seen)
    assert turns.shape == (7, bins)
    assert turns.dtype == np.float32
    for row, reference in zip(turns, refs, strict=True):
        expected = (
            slow(query, reference, bins, seen.astype(float)) if bins > 1 else reference @ query
        )
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_array_equal(turns.max(axis=1), score_query(query, refs, bins, seen)[0])
    with pytest.raises(BadIndex, match="NaN"):
        score_turns(query, np.where(refs == refs[0, 0], np.nan, refs), bins, seen)


@given(turn=st.integers(0, 7), fov=st.sampled_from([60.0, 90.0, 200.0, 360.0]))
def test_turning_the_references_turns_the_heading_and_keeps_the_score(turn, fov):
    rng = np.random.default_rng(turn)
    query, refs, seen = unit(rng, 32), unit(rng, 6, 32), compute_bin_coverage(fov, 8)
    best, heading = score_query(query, refs, 8, seen)
    rolled = np.roll(refs.reshape(6, 8, 4), turn, axis=1).reshape(6, 32)
    best_2, heading_2 = score_query(query, rolled, 8, seen)
    np.testing.assert_allclose(best_2, best, atol=1e-6)
    np.testing.assert_allclose(heading_2, (heading + 45.0 * turn) % 360.0)


def test_a_vector_is_found_in_itself_at_the_heading_it_was_turned_by():
    reference = unit(np.random.default_rng(0), 32)
    for turn in range(8):
        query = np.roll(reference.reshape(8, 4), -turn, axis=0).ravel()
        for fov in (360.0, 90.0):
            best, heading = score_query(query, reference[None], 8, compute_bin_coverage(fov, 8))
            assert best[0] == pytest.approx(1.0, abs=1e-6)
            assert heading[0] == 45.0 * turn


def test_what_a_picture_does_not_see_does_not_count():
    rng = np.random.default_rng(1)
    query, refs, seen = unit(rng, 32).reshape(8, 4), unit(rng, 4, 32), compute_bin_coverage(90.0, 8)
    other = query.copy()
    other[seen == 0] = 7.0
    np.testing.assert_allclose(
        score_query(query.ravel(), refs, 8, seen),
        score_query(other.ravel(), refs, 8, seen),
        atol=1e-6,
    )


def test_one_bin_is_the_dot_product_and_tells_no_heading():
    rng = np.random.default_rng(2)
    query, refs = unit(rng, 16), unit(rng, 9, 16)
    best, heading = score_query(query, refs, 1, np.ones(1, np.float32))
    np.testing.assert_allclose(best, refs @ query, atol=1e-6)
    assert np.isnan(heading).all()


def test_seen_bins_are_the_share_of_each_bin_within_the_picture():
    assert compute_bin_coverage(360.0, 8).tolist() == [1.0] * 8
    assert compute_bin_coverage(90.0, 8).tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert compute_bin_coverage(60.0, 4).tolist() == pytest.approx([0, 1 / 3, 1 / 3, 0])


def test_of_equal_turns_the_smallest_counts():
    same = np.full(32, 32**-0.5, np.float32)
    assert score_query(same, same[None], 8, compute_bin_coverage(360.0, 8))[1].tolist() == [0.0]


def test_many_queries_score_as_each_of_them_alone(monkeypatch):
    monkeypatch.setattr(similarity, "_WORKING_FLOATS", 100)  # many small tiles
    rng = np.random.default_rng(3)
    queries, refs = unit(rng, 5, 32), unit(rng, 11, 32)
    seen = np.stack([compute_bin_coverage(f, 8) for f in (360, 90, 50, 360, 120)])
    each = np.where(np.eye(8, dtype=bool)[np.arange(11) % 8], 0.1, np.inf).astype(np.float32)
    costs = [None, only(2), None, each, None]
    best, heading = score_queries(queries, refs, 8, seen, costs)
    for n in range(5):
        alone = score_query(queries[n], refs, 8, seen[n], costs[n])
        np.testing.assert_allclose(best[n], alone[0], atol=1e-6)
        np.testing.assert_array_equal(heading[n], alone[1])


def only(*turns, cost=0.0):
    return np.where(np.isin(np.arange(8), turns), cost, np.inf).astype(np.float32)


def test_turns_of_infinite_cost_are_not_tried():
    rng = np.random.default_rng(4)
    query, refs, seen = unit(rng, 32), unit(rng, 6, 32), compute_bin_coverage(90.0, 8)
    best, heading = score_query(query, refs, 8, seen, only(3, 4))
    assert set(heading) <= {135.0, 180.0}
    for n, reference in enumerate(refs):
        assert best[n] == pytest.approx(max(slow(query, reference, 8, seen)[3:5]), abs=1e-5)
    with pytest.raises(InvalidValue, match="no turn"):
        score_query(query, refs, 8, seen, only())


def test_what_a_turn_costs_is_taken_off_its_cosine():
    rng = np.random.default_rng(8)
    query, refs, seen = unit(rng, 32), unit(rng, 6, 32), compute_bin_coverage(135.0, 8)
    costs = rng.uniform(0.0, 0.5, (6, 8)).astype(np.float32)
    best, heading = score_query(query, refs, 8, seen, costs)
    for n, reference in enumerate(refs):
        left = np.array(slow(query, reference, 8, seen)) - costs[n]
        assert best[n] == pytest.approx(left.max(), abs=1e-5)
        assert heading[n] == 45.0 * left.argmax()


@pytest.mark.parametrize("bins", [1, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bins, bad):
    rng = np.random.default_rng(5)
    query, refs, seen = unit(rng, 8), unit(rng, 3, 8), np.ones(bins, np.float32)
    broken = refs.copy()
    broken[1, 2] = bad
    with pytest.raises(BadIndex, match="NaN"):
        score_query(query, broken, bins, seen)
    with pytest.raises(InvalidValue, match="NaN"):
        score_query(np.full(8, bad, np.float32), refs, bins, seen)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InvalidValue, match="do not fit"):
        score_query(np.ones(8, np.float32), np.ones((3, 9), np.float32), 4, np.ones(4, np.float32))
    with pytest.raises(InvalidValue, match="seen must be"):
        score_query(np.ones(8, np.float32), np.ones((3, 8), np.float32), 4, np.ones(3, np.float32))


def test_a_query_that_says_nothing_of_what_it_sees_is_refused():
    query = np.zeros((8, 4), np.float32)
    query[0] = 1.0
    with pytest.raises(InvalidValue, match="zero in all directions"):
        score_query(query.ravel(), np.ones((2, 32), np.float32), 8, compute_bin_coverage(90.0, 8))


def test_a_reference_without_anything_to_see_scores_zero():
    rng = np.random.default_rng(6)
    assert score_query(
        unit(rng, 32), np.zeros((2, 32), np.float32), 8, compute_bin_coverage(90.0, 8)
    )[0].tolist() == [0.0, 0.0]
