"""A report: the page and its numbers as files in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossview.evaluation.record import Evaluation
from crossview.files import atomic_write, make_folder
from crossview.reports.exports import report_json, results_csv, significance_csv
from crossview.reports.latex import latex_tables
from crossview.reports.page import report_html
from crossview.reports.results import trials_of
from crossview.reports.significance import comparisons

PAGE_NAME = "report.html"


def write_report(
    evaluations: Sequence[Evaluation], out: str | Path, *, title: str, created: str, seed: int = 0
) -> Path:
    """Write the page, ``report.json``, ``results.csv``, ``significance.csv``, ``tables.tex``.

    ``seed`` drives resampling and permutation. Returns the page, which is written last.
    """
    trials = trials_of(evaluations)
    compared = comparisons(trials, seed)
    exports = {
        "results.csv": results_csv(trials),
        "significance.csv": significance_csv(compared),
        "tables.tex": latex_tables(trials),
    }
    page = report_html(title, created, trials, compared, exports)
    folder = make_folder(out)
    atomic_write(folder / "report.json", report_json(trials, compared, created))
    for name, text in exports.items():
        atomic_write(folder / name, text)
    atomic_write(folder / PAGE_NAME, page)
    return folder / PAGE_NAME
