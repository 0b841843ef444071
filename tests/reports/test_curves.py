"""Numbers behind the charts, against slow and obvious loops."""

import numpy as np
import pytest
from tests.reports.made_up import evaluation

from crossview.reports.curves import answered_curve, error_curve, recall_curve
from crossview.reports.results import trials_of


def result(**changes):
    return trials_of([evaluation(**changes)])[0].results[0]


def test_the_recall_curve_counts_ranks():
    run = result()
    curve = recall_curve(run, 100)
    slow = [100.0 * sum(rank <= k for rank in run.ranks) / len(run.ranks) for k in curve.x]
    assert curve.y == pytest.approx(slow)
    assert (curve.low <= curve.y).all()
    assert (curve.y <= curve.high).all()


def test_a_curve_at_its_end_still_has_an_interval():
    curve = recall_curve(result(right=1.0), 10)
    assert curve.y[0] == 100.0
    assert 95.0 < curve.low[0] < 100.0


def test_the_error_curve_counts_metres():
    run = result()
    curve = error_curve(run, np.array([5.0, 25.0, 100.0]))
    assert curve.y == pytest.approx([100.0 * np.mean(run.errors_m <= m) for m in (5, 25, 100)])


def test_answering_everything_gives_the_recall():
    run = result()
    answered, right = answered_curve(run)
    assert answered[-1] == 100.0
    assert right[-1] == pytest.approx(100.0 * np.mean(run.ranks == 1))
