"""The report's numbers for other programs: CSV, JSON, and tables as LaTeX for booktabs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from crossview.outputs.text import escape_formula
from crossview.reports import report_tables
from crossview.reports.results import Trial, group_sweeps
from crossview.reports.significance import RunComparison
from crossview.reports.trust import NamedCalibration
from crossview.texts import phrase

FORMAT = 1
COLUMNS = (
    "test", "split", "headings", "fov_deg", "queries", "references", "row", "detail", "origin",
    "trained_on", "representation", "metric", "value", "low", "high", "unit", "n", "best",
    "differs", "source", "standing",
)  # fmt: skip
_COMPARED = ("run", "against", "metric", "difference", "low", "high", "p", "p_holm", "detectable",
             "n", "over")  # fmt: skip
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"$^\circ$",
    "<": r"\textless{}", ">": r"\textgreater{}", "→": r"$\rightarrow$", "±": r"$\pm$",
}  # fmt: skip


def format_results_csv(trials: Iterable[Trial]) -> str:
    """One line per value: measured and published, comparable or not (then ``differs`` says why)."""
    rows = _collect_rows(list(trials))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def format_significance_csv(comparisons: Iterable[tuple[Trial, Sequence[RunComparison]]]) -> str:
    """One line per pair of runs that answered the same queries."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test", *_COMPARED])
    for trial, of_trial in comparisons:
        rows = ([trial.name, *(getattr(c, name) for name in _COMPARED)] for c in of_trial)
        writer.writerows(map(escape_formula, row) for row in rows)
    return text.getvalue()


def format_report_json(
    trials: Sequence[Trial],
    comparisons: Iterable[tuple[Trial, Sequence[RunComparison]]],
    calibrations: Iterable[NamedCalibration],
    created: str,
) -> str:
    """All of it as one JSON object, with the protocol and the command of every record."""
    value = {
        "format": FORMAT,
        "created": created,
        "results": [_order_columns(row) for row in _collect_rows(trials)],
        "comparisons": [
            {"test": trial.name, **vars(comparison)} for trial, of_trial in comparisons
            for comparison in of_trial
        ],
        "calibrations": [{"name": c.name, **c.calibration.to_json()} for c in calibrations],
        "records": [_describe_record(e) for t in trials for r in t.results for e in r.evaluations],
    }  # fmt: skip
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _collect_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Of every test, then the means over fields of view, which have no field of view."""
    rows = [row for trial in trials for row in _collect_test_rows(trial)]
    for sweep in group_sweeps(trials):
        if table := report_tables.tabulate_means(sweep):
            for line in (*table.same, *table.apart):
                rows += [row | {"fov_deg": None} for row in _list_values(sweep.first, line)]
    return rows


def _collect_test_rows(trial: Trial) -> list[dict[str, Any]]:
    tables = [
        report_tables.tabulate_ranks(trial),
        report_tables.tabulate_places(trial),
        report_tables.tabulate_others(trial),
    ]
    lines = [line for table in tables if table for line in (*table.same, *table.apart)]
    return [row for line in lines for row in _list_values(trial, line)]


def _list_values(trial: Trial, line: report_tables.TableRow) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {
        "test": trial.title,
        "split": trial.results[0].first.split,
        "headings": trial.conditions.headings,
        "fov_deg": trial.conditions.fov_deg,
        "queries": trial.queries,
        "references": trial.references,
        "row": line.name,
        "detail": line.detail,
        "origin": "published" if line.slot is None else "measured",
        "trained_on": line.trained_on,
        "representation": line.representation,
        "differs": "; ".join(line.differs),
        "source": line.source,
        "standing": line.standing,
    }
    return [
        {**shared, "metric": name, "value": cell.value, "low": cell.low, "high": cell.high,
         "unit": cell.unit, "n": cell.n, "best": cell.best}
        for name, cell in line.cells.items()
    ]  # fmt: skip


def _describe_record(evaluation: Any) -> dict[str, Any]:
    named = ("label", "method", "data", "split", "seeds", "skipped", "created", "command")
    facts = {name: getattr(evaluation, name) for name in named}
    return {**facts, "model": dict(evaluation.model), "protocol": vars(evaluation.protocol)}


def _order_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {column: row[column] for column in COLUMNS}


def format_latex_tables(trials: Iterable[Trial]) -> str:
    """One table per test, then the means over fields of view.

    What was measured elsewhere is set apart in the same table.
    """
    tests = list(trials)
    means = [
        format_latex_table(sweep.first, table, sweep.mean_name)
        for sweep in group_sweeps(tests)
        if (table := report_tables.tabulate_means(sweep))
    ]
    return "\n".join(
        [
            *(format_latex_table(trial, report_tables.tabulate_ranks(trial)) for trial in tests),
            *means,
        ]
    )


def format_latex_table(trial: Trial, table: report_tables.ComparisonTable, name: str = "") -> str:
    """One table; the best comparable value of each column is bold.

    ``name`` of what is shown, if not the trial's.
    """
    name = name or trial.name
    titles = [phrase("latex.method"), *map(report_tables.title_column, table.columns)]
    lines = [
        f"% {name}: {trial.queries} queries, {trial.references} references",
        r"\begin{table}",
        rf"\caption{{{escape_latex(_write_caption(trial, name))}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(escape_latex(title) for title in titles) + r" \\",
        r"\midrule",
        *(_format_row(line, table.columns) for line in table.same),
    ]
    if table.apart:
        title = rf"\emph{{{escape_latex(phrase('latex.apart'))}}}"
        apart = rf"\multicolumn{{{len(titles)}}}{{l}}{{{title}}} \\"
        lines += [r"\midrule", apart, *(_format_row(line, table.columns) for line in table.apart)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape_latex(text: str) -> str:
    """``text`` with everything that LaTeX would take for a command escaped."""
    return re.sub(r"[\\&%$#_{}~^°<>→±]", lambda match: _LATEX[match[0]], text)


def _write_caption(trial: Trial, name: str) -> str:
    return phrase(
        "latex.caption",
        name=name,
        queries=trial.queries,
        references=trial.references,
        k=trial.results[0].first.k_at_1_percent,
    )


def _format_row(line: report_tables.TableRow, columns: Iterable[str]) -> str:
    detail = ", ".join(filter(None, [line.detail, "; ".join(line.differs)]))
    name = escape_latex(line.name) + (rf" {{\scriptsize {escape_latex(detail)}}}" if detail else "")
    return " & ".join([name, *(_format_value(line.cells.get(c)) for c in columns)]) + r" \\"


def _format_value(cell: report_tables.Cell | None) -> str:
    if cell is None:
        return "--"
    value = rf"\textbf{{{cell.value:.2f}}}" if cell.best else f"{cell.value:.2f}"
    if cell.low is not None and cell.high is not None:
        value += rf" {{\scriptsize [{cell.low:.1f}, {cell.high:.1f}]}}"
    return value
