"""A report: the page and its numbers as files in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossview.evaluation.evaluation_record import Evaluation
from crossview.files import write_together
from crossview.locks import locked
from crossview.reports.exports import report_json, results_csv, significance_csv
from crossview.reports.latex import latex_tables
from crossview.reports.report_page import Evidence, report_html
from crossview.reports.results import trials_of
from crossview.reports.significance import comparisons
from crossview.reports.trust import Trusted

PAGE_NAME = "report.html"


@dataclass(frozen=True, kw_only=True)
class About:
    """What a report is called, when it was made, and what its resampling and flips draw from."""

    title: str
    created: str
    seed: int = 0


def write_report(
    evaluations: Sequence[Evaluation],
    out: str | Path,
    about: About,
    calibrations: Sequence[Trusted] = (),
) -> Path:
    """Write the page, ``report.json``, ``results.csv``, ``significance.csv``, ``tables.tex``.

    Returns the page, which is written last.
    """
    trials = trials_of(evaluations)
    compared = comparisons(trials, about.seed)
    exports = {
        "results.csv": results_csv(trials),
        "significance.csv": significance_csv(compared),
        "tables.tex": latex_tables(trials),
    }
    evidence = Evidence(trials, compared, calibrations, exports)
    page = report_html(about.title, about.created, evidence)
    numbers = report_json(trials, compared, calibrations, about.created)
    contents = {"report.json": numbers, **exports, PAGE_NAME: page}
    with locked(out, "crossview report", wait=True, make_parents=True):
        write_together(out, contents, contents)
    return Path(out) / PAGE_NAME
