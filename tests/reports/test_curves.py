"""Numbers behind the charts, against slow and obvious loops."""

from dataclasses import replace

import numpy as np
import pytest
from tests.reports.made_up import evaluation

from crossview.localization.accuracy import mark_hits
from crossview.reports.curves import (
    compute_answered_curve,
    compute_error_curve,
    compute_recall_curve,
)
from crossview.reports.results import sort_into_trials
from crossview.reports.significance import pair_hits


def result(**changes):
    return sort_into_trials([evaluation(**changes)])[0].results[0]


def test_the_recall_curve_counts_ranks():
    run = result()
    curve = compute_recall_curve(run, 100)
    ranks = run.first.queries.rank
    slow = [100.0 * sum(rank <= k for rank in ranks) / len(ranks) for k in curve.x]
    assert curve.y == pytest.approx(slow)
    assert (curve.low <= curve.y).all()
    assert (curve.y <= curve.high).all()


def test_a_curve_at_its_end_still_has_an_interval():
    curve = compute_recall_curve(result(right=1.0), 10)
    assert curve.y[0] == 100.0
    assert 95.0 < curve.low[0] < 100.0


def test_the_error_curve_counts_metres():
    run = result()
    curve = compute_error_curve(run, np.array([5.0, 25.0, 100.0]))
    assert curve.y == pytest.approx([100.0 * np.mean(run.errors_m <= m) for m in (5, 25, 100)])


def test_answering_everything_gives_the_recall():
    run = result()
    answered, right = compute_answered_curve(run)
    assert answered[-1] == 100.0
    assert right[-1] == pytest.approx(100.0 * np.mean(run.first.queries.rank == 1))


def test_charts_and_comparisons_count_queries_without_a_match_as_r_at_k_does():
    """Rank 0: it has no match. Leaving such queries out would draw another R@1 than the table's."""
    records = []
    for label, right in (("a", 0.8), ("b", 0.5)):
        record = evaluation(label, right=right)
        rank = np.where(np.arange(200) < 50, 0, record.queries.rank)
        records.append(replace(record, queries=replace(record.queries, rank=rank)))
    (trial,) = sort_into_trials(records)
    shares = [100.0 * float(mark_hits(r.queries.rank, 1).mean()) for r in records]
    assert [compute_recall_curve(r, 10).y[0] for r in trial.results] == pytest.approx(shares)
    assert [compute_answered_curve(r)[1][-1] for r in trial.results] == pytest.approx(shares)
    ours, theirs, _ = pair_hits(*trial.results)
    assert [ours.mean(), theirs.mean()] == pytest.approx(shares)
