"""Which rows may be compared, which stand apart, and who is best."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from tests.reports.made_up import cvusa, evaluation, figure

from crossview.reports.report_page import ReportFacts, write_report
from crossview.reports.report_tables import (
    format_latex_tables,
    format_results_csv,
    tabulate_means,
    tabulate_others,
    tabulate_places,
    tabulate_ranks,
)
from crossview.reports.results import group_sweeps, sort_into_trials


def table_of(*records):
    (trial,) = sort_into_trials(records)
    return tabulate_ranks(trial)


def row(table, name):
    return next(line for line in (*table.same, *table.apart) if line.name == name)


def test_published_rows_of_the_same_protocol_share_the_table_and_the_best():
    table = table_of(cvusa(right=0.9))
    names = [line.name for line in table.same]
    assert {"ours", "GeoDTR+", "SAFA", "Sample4Geo"} <= set(names)
    best = [line.name for line in table.same if line.cells.get("R@5") and line.cells["R@5"].best]
    assert best == ["Sample4Geo"]


def test_comparable_rows_are_ordered_by_recall():
    values = [line.cells["R@1"].value for line in table_of(cvusa(right=0.9)).same]
    assert values == sorted(values, reverse=True)


def test_rows_trained_on_other_data_stand_apart_with_the_difference_named():
    table = table_of(cvusa())
    told = [line.differs for line in table.apart if line.name == "TransGeo"]
    assert told == [("trained on cvact",)]


def test_rows_of_other_headings_stand_apart():
    table = table_of(cvusa())
    apart = [line for line in table.apart if line.name == "SinGeo"]
    assert any("heading unknown" in line.differs for line in apart)


def test_nothing_that_stands_apart_is_marked_best():
    table = table_of(cvusa(), cvusa(label="narrow", off_protocol=("trained on 180° only",)))
    assert row(table, "narrow").differs == ("trained on 180° only",)
    assert not any(cell.best for line in table.apart for cell in line.cells.values())


def test_another_k_at_1_percent_does_not_compete():
    record = evaluation(
        data="vigor-cross:V", headings="aligned", k_at_1_percent=465, count=53694,
        model={"training_data": "vigor-cross:V"},
    )  # fmt: skip
    table = table_of(record)
    assert row(table, "GeoDTR+").cells["R@1%"].note == "k = 466"
    best = [line.name for line in table.same if line.cells.get("R@1%") and line.cells["R@1%"].best]
    assert best == ["Sample4Geo"]  # counted with k = 465


@pytest.mark.parametrize("skipped", [0, 8584])
def test_a_part_of_the_official_queries_is_not_the_benchmark(skipped):
    record = cvusa(count=300, skipped=skipped)
    assert "8,884 queries, not 300" in row(table_of(record), "SAFA").differs


def test_a_few_unreadable_queries_are_told_and_change_nothing_else():
    table = table_of(cvusa(count=8880, skipped=4))
    assert "4 unreadable queries left out" in row(table, "ours").detail
    assert "SAFA" in [line.name for line in table.same]


@pytest.mark.parametrize(("skipped", "the_benchmark"), [(88, True), (89, False)])
def test_up_to_a_hundredth_of_the_queries_may_be_unreadable(skipped, the_benchmark):
    table = table_of(cvusa(count=8884 - skipped, skipped=skipped))
    assert ("SAFA" in [line.name for line in table.same]) is the_benchmark


def test_a_run_of_unrecorded_training_data_has_no_published_peers():
    table = table_of(cvusa(model={}))
    assert [line.name for line in table.same] == ["ours"]


def test_an_error_in_metres_is_best_when_it_is_smallest():
    (trial,) = sort_into_trials([evaluation("near", right=0.9), evaluation("far", right=0.1)])
    best = [line.name for line in tabulate_places(trial).same if line.cells["median error m"].best]
    assert best == ["near"]


def test_a_lone_row_is_best_of_nothing():
    table = table_of(evaluation())
    assert not any(cell.best for cell in table.same[0].cells.values())


def test_records_of_other_seeds_become_one_row_with_their_mean_and_spread():
    records = [evaluation(seed=s, seeds=(s,), figures_given=value)
               for s, value in enumerate((60.0, 62.0))]  # fmt: skip
    line = table_of(*records).same[0]
    assert line.cells["R@1"].value == pytest.approx(61.0)
    assert "mean of 2 heading seeds" in line.detail
    assert "spans 2.0 points" in line.detail


@pytest.mark.parametrize(
    ("name", "unit"), [("R@20", "%"), ("MRR", ""), ("share within 1 km", "%"), ("R@5", "m")]
)
def test_a_figure_that_nobody_knows_stands_in_a_table_of_its_own(name, unit, tmp_path):
    """Never among metres or ranks, whatever its unit; nothing of it is best."""
    records = []
    for label, value in (("a", 70.0), ("b", 60.0)):
        record = evaluation(label)
        kept = tuple(f for f in record.figures if f.name != name)
        records.append(replace(record, figures=(*kept, figure(name, value, 50.0, 80.0, 200, unit))))
    (trial,) = sort_into_trials(records)
    assert name not in tabulate_ranks(trial).columns
    assert tabulate_places(trial).columns == ("median error m",)
    others = tabulate_others(trial)
    assert others.columns == (name,)
    assert [line.cells[name].value for line in others.same] == [70.0, 60.0]
    assert not any(line.cells[name].best for line in others.same)
    rows = csv.DictReader(io.StringIO(format_results_csv([trial], [])))
    assert [row["best"] for row in rows if row["metric"] == name] == ["False", "False"]
    page = write_report(records, tmp_path, ReportFacts(title="t", created="now"))
    words = f"Other figures, as the records have them: {name} ({unit or 'no unit'})"
    assert words in page.read_text(encoding="utf-8")


def test_known_figures_need_no_table_of_others():
    (trial,) = sort_into_trials([evaluation()])
    assert tabulate_others(trial) is None


def test_columns_stand_in_the_order_of_the_list_whatever_the_record_has_first():
    record = evaluation()
    (trial,) = sort_into_trials([replace(record, figures=record.figures[::-1])])
    assert tabulate_ranks(trial).columns == ("R@1", "R@5", "R@10", "R@1%")


def swept(label="ours", **changes):
    """CVUSA under the four fields of view of the headline, heading unknown."""
    return [
        cvusa(label=label, fov_deg=fov, right=right, seed=int(fov), headings="unknown", **changes)
        for fov, right in ((360.0, 0.9), (180.0, 0.8), (90.0, 0.5), (70.0, 0.4))
    ]


def test_the_headline_stands_beside_published_means_of_the_same_four_fields_of_view():
    records = swept()
    (sweep,) = group_sweeps(sort_into_trials(records))
    table = tabulate_means(sweep)
    ours = row(table, "ours").cells["mean R@1"]
    slow = np.mean([100.0 * np.mean(r.queries.rank == 1) for r in records])
    assert ours.value == pytest.approx(slow)
    assert ours.low < ours.value < ours.high
    singeo = [x.cells["mean R@1"].value for x in table.same if x.name == "SinGeo"]
    assert pytest.approx((96.8 + 91.8 + 70.1 + 58.0) / 4) in singeo
    assert "models: one per field of view" in row(table, "DSM").differs
    latex = format_latex_tables(sweep.trials, [sweep])
    assert "SinGeo" in latex.partition("mean of 360, 180, 90 and 70")[2]
    rows = list(csv.DictReader(io.StringIO(format_results_csv(sweep.trials, [sweep]))))
    (kept,) = [r for r in rows if r["metric"] == "mean R@1" and r["row"] == "ours"]
    assert (float(kept["value"]), kept["fov_deg"]) == (pytest.approx(slow), "")


def test_three_fields_of_view_have_a_chart_but_no_headline():
    (sweep,) = group_sweeps(sort_into_trials(swept()[:3]))
    assert tabulate_means(sweep) is None


def test_the_headline_of_several_trainings_has_an_interval_over_trainings():
    records = [record for n in range(3) for record in swept(model={"fingerprint": str(n)})]
    (sweep,) = group_sweeps(sort_into_trials(records))
    (mean,) = sweep.means
    assert (mean.figures["mean R@1"].over, mean.figures["mean R@1"].n) == ("trainings", 3)


def test_a_run_that_was_not_trained_for_one_field_of_view_stands_apart():
    records = swept()
    records[3:] = swept(off_protocol=("not trained for 70 degrees",))[3:]
    (sweep,) = group_sweeps(sort_into_trials(records))
    assert [line.name for line in tabulate_means(sweep).same if line.slot is not None] == []
    assert row(tabulate_means(sweep), "ours").differs == ("not trained for 70 degrees",)
