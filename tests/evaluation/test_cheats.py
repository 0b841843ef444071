"""Models that deserve nothing get nothing, however they go about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossview.errors import BadData
from crossview.evaluation.evaluation_record import Protocol
from crossview.evaluation.fast_scores import Plain
from crossview.evaluation.metrics import RunFacts, make_record, recall
from crossview.evaluation.ranking import rank, rank_queries
from crossview.evaluation.task import Pairs, Rules, make_task
from crossview.evaluation.vectors import check_spread, normalize_rows
from crossview.training.contract import example_table

N = 200
ABOUT = RunFacts(
    label="cheat",
    method="cheat",
    protocol=Protocol(relation="", headings="", fov_deg=None, representation=""),
)


def vectors(seed=0, count=N, dim=8):
    return normalize_rows(np.random.default_rng(seed).normal(size=(count, dim)), "made")


def task(count=N):
    table = example_table(count)
    latlon = np.stack([60 + np.arange(count) / 1e4, np.full(count, 10.0)], axis=1)
    return make_task(
        replace(table, ground_latlon=latlon, aerial_latlon=latlon), "x", "test", Rules()
    )


def recall_at_1(queries, references):
    return recall(rank(Plain(queries, references), task().relation).of_queries(), 1)


def test_a_good_model_is_told_from_the_cheats():
    assert recall_at_1(vectors(), vectors()) == 1.0


def test_a_constant_is_refused_and_would_find_nothing():
    same = np.repeat(vectors(count=1), N, axis=0)
    with pytest.raises(BadData, match="collapsed"):
        check_spread(same, "references")
    assert recall_at_1(same, same) == 0.0


def test_nearly_the_same_for_everything_is_warned_of():
    noise = np.random.default_rng(0).normal(size=(N, 8))
    assert "nearly all the same" in check_spread(
        normalize_rows(1.0 + 0.005 * noise, "x"), "references"
    )
    assert check_spread(vectors(), "references") == ""


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "NaN"), (0.0, "are zero")])
def test_numbers_that_cannot_be_ranked_are_refused_by_row(value, said):
    broken = vectors().copy()
    broken[7] = value
    with pytest.raises(BadData, match=f"(?s){said}.*row 7"):
        normalize_rows(broken, "queries")


def test_a_shuffled_truth_scores_as_chance():
    own = vectors(dim=32)
    order = np.random.default_rng(1).permutation(N)
    assert recall_at_1(own, own[order]) <= 3 / N
    assert task().relation.chance(1) == pytest.approx(1 / N)


def test_references_that_are_there_twice_do_not_help():
    """Every truth has an exact copy that is wrong: it cannot be told from it."""
    twice = vectors().copy()
    twice[1::2] = twice[::2]
    assert recall_at_1(twice, twice) == 0.0


def test_vectors_made_of_the_position_in_a_batch_score_as_chance():
    """What a model that counts its inputs gives, when each side comes in an order of its own."""
    code = vectors(dim=32)
    rng = np.random.default_rng(2)
    q, r = np.empty_like(code), np.empty_like(code)
    q[rng.permutation(N)] = code
    r[rng.permutation(N)] = code
    assert recall_at_1(q, r) <= 3 / N


def test_neither_the_order_of_a_list_nor_that_of_the_vectors_changes_any_figure():
    table = example_table(40)
    latlon = np.stack([60 + np.arange(40) / 1e4, np.full(40, 10.0)], axis=1)
    table = replace(table, ground_latlon=latlon, aerial_latlon=latlon)
    q, r = vectors(count=40), vectors(count=40)
    r[::3] = r[0]  # ties, so that the best place is a matter of rules
    before = measured(table, q, r)
    rng = np.random.default_rng(3)
    g, a = rng.permutation(40), rng.permutation(40)
    shuffled = replace(
        table,
        ground=tuple(table.ground[n] for n in g),
        aerial=tuple(table.aerial[n] for n in a),
        pairs=np.stack([np.argsort(g)[table.pairs[:, 0]], np.argsort(a)[table.pairs[:, 1]]], 1),
        ground_latlon=latlon[g],
        aerial_latlon=latlon[a],
    )
    after = measured(shuffled, q[g], r[a])
    assert after.figures == before.figures
    assert after.queries.ids.tolist() == before.queries.ids.tolist()
    assert before.queries.best.shape == (40, 10)  # the ten best of each are kept
    np.testing.assert_array_equal(after.queries.best, before.queries.best)
    np.testing.assert_array_equal(after.queries.unmatched_score, before.queries.unmatched_score)


def measured(table, q, r):
    given = make_task(table, "x", "test", Rules())
    space = Plain(q[given.query_rows], r[given.reference_rows])
    return make_record(given, rank_queries(space, given), ABOUT)


def test_a_table_that_lists_a_picture_twice_or_nothing_is_refused():
    table = example_table(4)
    twice = replace(table, ground=(*table.ground[:3], table.ground[0]))
    with pytest.raises(BadData, match="listed twice"):
        make_task(twice, "x", "test", Rules())
    with pytest.raises(BadData, match="is the split empty"):
        make_task(example_table(0), "x", "test", Rules())


def test_a_radius_makes_everything_near_right():
    table = example_table(4)
    latlon = np.array([[60.0, 10.0], [60.00002, 10.0], [60.1, 10.0], [np.nan, np.nan]])
    table = replace(table, ground_latlon=latlon, aerial_latlon=latlon, root=Path())
    near = make_task(table, "x", "test", Rules(radius_m=5.0)).relation
    pairs = Pairs.of(np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]]))
    np.testing.assert_array_equal(near.right.query, pairs.query)
    np.testing.assert_array_equal(near.right.reference, pairs.reference)
    assert near.words == "all within 5 m"
    with pytest.raises(BadData, match="no reference lies within"):
        far = np.where(np.isfinite(latlon), latlon - 1.0, 0.0)
        make_task(replace(table, aerial_latlon=far), "x", "test", Rules(radius_m=5.0))
