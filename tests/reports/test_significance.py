"""Paired differences, on the same queries only, corrected for how many there are."""

import numpy as np
import pytest
from tests.reports.made_up import evaluation

from crossview.reports.results import sort_into_trials
from crossview.reports.significance import compare_runs, pair_hits


def compared(*records):
    return compare_runs(sort_into_trials(records))[0][1]


def test_a_clear_lead_is_sure_and_a_small_one_is_not():
    (clear,) = compared(evaluation("a", right=0.8), evaluation("b", right=0.4))
    (small,) = compared(evaluation("a", right=0.505), evaluation("b", right=0.50))
    assert clear.sure
    assert clear.difference == pytest.approx(40.0, abs=8.0)
    assert clear.low < clear.difference < clear.high
    assert not small.sure


def test_the_same_answers_differ_by_nothing():
    (same,) = compared(evaluation("a"), evaluation("b"))
    assert (same.difference, same.p) == (0.0, 1.0)


def test_every_pair_is_compared_once():
    found = compared(*(evaluation(label) for label in "abcd"))
    assert len(found) == 6


def test_only_queries_that_both_answered_count():
    (trial,) = sort_into_trials([evaluation("a", count=200), evaluation("b", count=150)])
    ours, theirs, clusters = pair_hits(*trial.results)
    assert len(ours) == len(theirs) == len(clusters) == 150
    assert set(np.unique(ours)) <= {0.0, 100.0}


def test_what_is_off_protocol_is_not_compared():
    off = evaluation("b", off_protocol=("trained on 180° only",))
    assert compared(evaluation("a"), off) == []


def test_runs_of_several_trainings_are_compared_over_trainings():
    records = [evaluation(label, model={"fingerprint": f"{label}{n}"}, figures_given=value + n)
               for label, value in (("a", 60.0), ("b", 50.0)) for n in range(3)]  # fmt: skip
    (found,) = compared(*records)
    assert (found.over, found.n) == ("trainings", 3)
    assert found.difference == pytest.approx(10.0)
