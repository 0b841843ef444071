"""The report's numbers for other programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from crossview.outputs.text import escape_formula
from crossview.reports.report_tables import Line, mean_table, other_table, place_table, rank_table
from crossview.reports.results import Trial, sweeps
from crossview.reports.significance import RunComparison
from crossview.reports.trust import Trusted

FORMAT = 1
COLUMNS = (
    "test", "split", "headings", "fov_deg", "queries", "references", "row", "detail", "origin",
    "trained_on", "representation", "metric", "value", "low", "high", "unit", "n", "best",
    "differs", "source", "standing",
)  # fmt: skip
_COMPARED = ("run", "against", "metric", "difference", "low", "high", "p", "p_holm", "detectable",
             "n", "over")  # fmt: skip


def results_csv(trials: Iterable[Trial]) -> str:
    """One line per value: measured and published, comparable or not (then ``differs`` says why)."""
    rows = _all_rows(list(trials))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def significance_csv(comparisons: Iterable[tuple[Trial, Sequence[RunComparison]]]) -> str:
    """One line per pair of runs that answered the same queries."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test", *_COMPARED])
    for trial, made in comparisons:
        rows = ([trial.name, *(getattr(c, name) for name in _COMPARED)] for c in made)
        writer.writerows(map(escape_formula, row) for row in rows)
    return text.getvalue()


def report_json(
    trials: Sequence[Trial],
    comparisons: Iterable[tuple[Trial, Sequence[RunComparison]]],
    calibrations: Iterable[Trusted],
    created: str,
) -> str:
    """All of it as one JSON object, with the protocol and the command of every record."""
    value = {
        "format": FORMAT,
        "created": created,
        "results": [_whole(row) for row in _all_rows(trials)],
        "comparisons": [
            {"test": trial.name, **vars(comparison)} for trial, made in comparisons
            for comparison in made
        ],
        "calibrations": [{"name": one.name, **one.calibration.to_json()} for one in calibrations],
        "records": [_record(e) for trial in trials for r in trial.results for e in r.evaluations],
    }  # fmt: skip
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _all_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Of every test, then the means over fields of view, which have no field of view."""
    rows = [row for trial in trials for row in _rows(trial)]
    for sweep in sweeps(trials):
        if table := mean_table(sweep):
            for line in (*table.same, *table.apart):
                rows += [row | {"fov_deg": None} for row in _values(sweep.first, line)]
    return rows


def _rows(trial: Trial) -> list[dict[str, Any]]:
    tables = [rank_table(trial), place_table(trial), other_table(trial)]
    lines = [line for table in tables if table for line in (*table.same, *table.apart)]
    return [row for line in lines for row in _values(trial, line)]


def _values(trial: Trial, line: Line) -> list[dict[str, Any]]:
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


def _record(evaluation: Any) -> dict[str, Any]:
    named = ("label", "method", "data", "split", "seeds", "skipped", "created", "command")
    facts = {name: getattr(evaluation, name) for name in named}
    return {**facts, "model": dict(evaluation.model), "protocol": vars(evaluation.protocol)}


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    return {column: row[column] for column in COLUMNS}
