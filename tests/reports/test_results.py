"""Records become tests and runs: what stands together, under which name, in which order."""

import pytest
from tests.reports.made_up import evaluation, gallery

from crossview.reports.results import sort_into_trials


def test_several_trainings_have_an_interval_over_trainings():
    records = [evaluation(model={"fingerprint": str(n)}, figures_given=value)
               for n, value in enumerate((60.0, 61.0, 62.0))]  # fmt: skip
    (trial,) = sort_into_trials(records)
    found = trial.results[0].figures["R@1"]
    assert (found.over, found.n) == ("trainings", 3)
    assert found.high - found.value == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_tests_are_told_apart_by_field_of_view_and_kept_together_by_data():
    records = [evaluation(label, fov_deg=fov) for label in "ab" for fov in (360.0, 90.0)]
    trials = sort_into_trials(records)
    assert [(t.conditions.fov_deg, len(t.results)) for t in trials] == [(360.0, 2), (90.0, 2)]


def test_galleries_of_other_sizes_are_other_tests():
    assert len(sort_into_trials([evaluation(), evaluation("b", references=gallery(100))])) == 2


def test_a_run_keeps_its_slot_in_every_test():
    records = [evaluation("a"), evaluation("b"), evaluation("b", data="town:data/harbour")]
    slots = {(t.title, r.label): r.slot for t in sort_into_trials(records) for r in t.results}
    assert slots == {("suburb", "a"): 0, ("suburb", "b"): 1, ("harbour", "b"): 1}


def test_trials_are_ordered_by_data_and_then_the_widest_view_first():
    records = [evaluation(data=f"town:{town}", fov_deg=fov)
               for fov in (70.0, 360.0, 180.0) for town in ("suburb", "harbour")]  # fmt: skip
    found = [(t.title, t.conditions.fov_deg) for t in sort_into_trials(records)]
    assert found == [(town, fov) for town in ("suburb", "harbour") for fov in (360.0, 180.0, 70.0)]


def test_a_table_of_pairs_is_named_by_its_folder():
    titles = [t.title for t in sort_into_trials([evaluation(data="pairs:data/my-city/pairs.csv"),
                                          evaluation(data="pairs:data/other.csv")])]  # fmt: skip
    assert titles == ["my-city", "other"]
