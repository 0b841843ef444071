"""The authors' own evaluators on data without ties, and where ours differs on purpose.

``shared/parity/evaluation.npz`` holds embeddings and what the published code said of them.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.shared_data import shared

from crossview.evaluation.fast_scores import Plain
from crossview.evaluation.metrics import average_precision, k_at_1_percent, recall
from crossview.evaluation.ranking import TIE, count_at_least, nearest, rank
from crossview.evaluation.task import Pairs, Relation
from crossview.evaluation.vectors import normalize_rows

NOBODY = Pairs.of(np.empty((0, 2), np.int64))


@pytest.fixture(scope="module")
def official():
    with np.load(shared("parity", "evaluation.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def labelled(arrays, name, gallery="reference"):
    """Unit vectors of both sides, and who has whose label."""
    q, r = (normalize_rows(arrays[f"{name}/{side}"], side) for side in ("query", gallery))
    labels = [arrays[f"{name}/{side}_label"] for side in ("query", gallery)]
    pairs = np.argwhere(labels[0][:, None] == labels[1][None, :])
    relation = Relation(queries=len(q), references=len(r), right=Pairs.of(pairs), near=NOBODY)
    return Plain(q, r), relation


def percent(ranks, *cuts):
    return [100.0 * recall(ranks, k) for k in cuts]


@pytest.mark.parametrize(
    "who",
    ["sample4geo_recall", "singeo_recall", "transgeo_recall", "geodtrplus_validateVIGOR"],
)
def test_one_to_one_recall_is_that_of_every_author(official, who):
    space, relation = labelled(official, "one2one")
    ranks = rank(space, relation).of_queries()
    ours = percent(ranks, 1, 5, 10, k_at_1_percent(relation.references))
    np.testing.assert_allclose(ours, official[f"one2one/{who}_1_5_10_1pct"], atol=1e-4)


@pytest.mark.parametrize("name", ["square", "square_big"])
def test_the_whole_recall_curve_is_that_of_geodtr(official, name):
    if name == "square":
        q, r = (
            normalize_rows(official[f"one2one/{side}"], side) for side in ("query", "reference")
        )
        r = r[official["square/true_row"]]
    else:
        q, r = (normalize_rows(official[f"{name}/{side}"], side) for side in ("ground", "aerial"))
    curve = official[f"{name}/geodtr_recall_at_k_curve_percent"]
    pairs = Pairs.of(np.stack([np.arange(len(q))] * 2, axis=1))
    relation = Relation(queries=len(q), references=len(r), right=pairs, near=NOBODY)
    ranks = rank(Plain(q, r), relation).of_queries()
    np.testing.assert_allclose(percent(ranks, *range(len(curve))), curve, atol=1e-4)


def vigor(official, near_counts):
    q, r = (normalize_rows(official[f"vigor/{side}"], side) for side in ("query", "reference"))
    labels = official["vigor/labels_positive_then_3_semi"]
    rows = np.repeat(np.arange(len(q)), 3)
    relation = Relation(
        queries=len(q),
        references=len(r),
        right=Pairs.of(np.stack([np.arange(len(q)), labels[:, 0]], axis=1)),
        near=Pairs.of(np.stack([rows, labels[:, 1:].ravel()], axis=1)),
        near_counts=near_counts,
    )
    return Plain(q, r), relation


def test_vigors_recall_and_hit_rate_are_those_of_the_authors(official):
    space, relation = vigor(official, near_counts=True)
    ranks = rank(space, relation)
    k = k_at_1_percent(relation.references)
    ours = percent(ranks.of_queries(), 1, 5, 10, k)
    hit = percent(ranks.without_near_misses(), 1)
    theirs = official["vigor/sample4geo_recall_1_5_10_1pct_hit"]
    np.testing.assert_allclose(ours + hit, theirs, atol=1e-4)
    for who in ("geodtrplus_recall_1_5_10_1pct_hit", "vigor_official_1pct_1_5_hit"):
        one_more = 100.0 * recall(ranks.of_queries(), k + 1)  # their R@1% takes one place more
        assert one_more == pytest.approx(official[f"vigor/{who}"][3 if "geodtr" in who else 0])


def test_near_misses_left_out_are_neither_right_nor_wrong(official):
    space, relation = vigor(official, near_counts=False)
    ranks = rank(space, relation)
    np.testing.assert_array_equal(ranks.of_queries(), ranks.without_near_misses())


@pytest.mark.parametrize("name", ["university_d2s", "university_s2d", "university_missing"])
def test_average_precision_is_that_of_the_authors_who_drop_distractors(official, name):
    """Theirs removes galleries of buildings without a query; ours tells both."""
    space, relation = labelled(official, name, "gallery")
    distractors = np.flatnonzero(official[f"{name}/gallery_label"] == -1)
    assert np.isin(distractors, relation.distractors()).all()
    ranks = rank(space, relation)
    gone = count_at_least(space.only(distractors), relation.right.query, ranks.score - TIE)
    without = ranks.of_queries_without(gone)
    precision = average_precision(ranks, gone)
    np.testing.assert_allclose(precision, official[f"{name}/ap_per_query"], atol=1e-9)
    np.testing.assert_array_equal(without - 1, official[f"{name}/first_hit_rank_per_query"])
    one_more = round(0.01 * relation.references) + 1  # their index, counting distractors
    ours = [*percent(without, 1, 5, 10, one_more), 100.0 * precision.mean()]
    theirs = official[f"{name}/sample4geo_recall_1_5_10_1pct_AP"]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert average_precision(ranks).mean() < precision.mean()  # distractors do harm


def test_the_nearest_wrong_references_are_those_of_sample4geo(official):
    space, relation = labelled(official, "one2one")
    theirs = official["one2one/sample4geo_nearest16_by_query"]
    found, _ = nearest(space, relation.right, 17)
    labels = official["one2one/reference_label"]
    own = official["one2one/query_label"]
    for query, row in enumerate(found):
        wrong = [labels[n] for n in row if labels[n] != own[query]][:16]
        assert wrong == theirs[query].tolist()


def test_ties_go_against_the_query_where_the_authors_let_it_win():
    """Their rank counts strictly better references only: a constant model gets 100 %."""
    same = np.ones((50, 4), np.float32) / 2
    pairs = Pairs.of(np.stack([np.arange(50)] * 2, axis=1))
    relation = Relation(queries=50, references=50, right=pairs, near=NOBODY)
    theirs = 1 + (same @ same.T > 1.0).sum(axis=1)
    assert recall(theirs, 1) == 1.0
    assert recall(rank(Plain(same, same), relation).of_queries(), 49) == 0.0


def test_not_a_number_wins_by_the_authors_rule_and_is_refused_by_ours():
    broken = np.full((5, 4), np.nan, np.float32)
    assert ((broken @ broken.T) > (broken @ broken.T).diagonal()[:, None]).sum() == 0
    with pytest.raises(Exception, match="NaN or infinity, the first in row 0"):
        normalize_rows(broken, "queries")
