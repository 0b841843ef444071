"""The numbers beside the page: CSV and LaTeX, whole and safe to open."""

import csv
import io

import numpy as np
from tests.reports.made_up import cvusa, evaluation

from crossview.reports.report_tables import escape_latex, format_latex_tables, format_results_csv
from crossview.reports.results import sort_into_trials


def test_latex_has_a_row_for_each_line_and_escapes_what_is_special():
    text = format_latex_tables(sort_into_trials([evaluation("a_b & 100%")]), [])
    assert r"a\_b \& 100\% {\scriptsize compass} & " in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert escape_latex("{\\}") == r"\{\textbackslash{}\}"


def test_the_csv_holds_every_value_with_its_protocol_and_interval():
    rows = list(
        csv.DictReader(io.StringIO(format_results_csv(sort_into_trials([cvusa(right=0.9)]), [])))
    )
    ours = [r for r in rows if r["origin"] == "measured" and r["metric"] == "R@1"]
    assert [(r["row"], r["headings"], r["n"], r["unit"]) for r in ours] == [
        ("ours", "aligned", "8884", "%")
    ]
    assert float(ours[0]["low"]) < float(ours[0]["value"]) < float(ours[0]["high"])
    theirs = [r for r in rows if r["origin"] == "published"]
    assert all(r["source"] and r["standing"] for r in theirs)
    assert all(np.isfinite(float(r["value"])) for r in rows)


def test_no_label_of_a_run_is_a_formula_in_a_spreadsheet():
    trials = sort_into_trials([cvusa(label='=HYPERLINK("x")', right=0.9)])
    rows = csv.DictReader(io.StringIO(format_results_csv(trials, [])))
    assert {row["row"] for row in rows if row["origin"] == "measured"} == {'\'=HYPERLINK("x")'}
