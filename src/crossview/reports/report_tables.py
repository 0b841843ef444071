"""A test as a table: measured and published rows that may be compared, the others set apart.

Also its numbers for other programs: CSV, JSON, and tables as LaTeX for booktabs.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossview.evaluation.evaluation_record import Figure
from crossview.evaluation.metrics import MAIN, METRICS, mean_name
from crossview.evaluation.run_comparison import FIELDS_DEG
from crossview.outputs.text import escape_formula
from crossview.reports.published import PublishedRow, list_differences
from crossview.reports.results import RunResult, Sweep, Trial
from crossview.reports.significance import RunComparison
from crossview.reports.trust import NamedCalibration
from crossview.texts import phrase

_MOST_SKIPPED = 0.01  # share of a benchmark's queries


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


@dataclass(frozen=True)
class Cell:
    """One value of one row; ``low`` and ``high`` are None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = "%"
    n: int | None = None
    note: str = ""  # why this value does not compete
    best: bool = False

    @property
    def value_text(self) -> str:
        """The value with the digits that its unit deserves."""
        return self._format(self.value)

    @property
    def interval_text(self) -> str:
        """The interval as a reader sees it; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return phrase("page.interval", low=self._format(self.low), high=self._format(self.high))

    def _format(self, number: float) -> str:
        digits = {"%": 1, "m": 0 if self.value >= 100 else 1}.get(self.unit, 3)
        return f"{number:,.{digits}f}"


@dataclass(frozen=True)
class TableRow:
    """One row. ``slot`` is None for what was published elsewhere."""

    name: str
    detail: str
    slot: int | None
    cells: dict[str, Cell]
    trained_on: str = ""
    representation: str = ""
    differs: tuple[str, ...] = ()
    source: str = ""
    standing: str = ""  # one of published.STANDINGS

    @property
    def notes(self) -> list[str]:
        """What a reader should know of a measured row, a few words each."""
        view, data = self.representation, self.trained_on
        return [
            *([phrase("results.input", representation=view)] if view else []),
            *([phrase("results.trained_on", data=data)] if data else []),
            *self.differs,
        ]


@dataclass(frozen=True)
class ComparisonTable:
    """Columns by name; ``same`` may be compared with each other, ``apart`` may not."""

    columns: tuple[str, ...]
    same: tuple[TableRow, ...]
    apart: tuple[TableRow, ...] = ()

    def find(self, slot: int) -> TableRow | None:
        """The row of a run; None if the run is not in the table."""
        return next((row for row in (*self.same, *self.apart) if row.slot == slot), None)


def tabulate_ranks(trial: Trial) -> ComparisonTable:
    """Recall, hit rate and AP of a test, beside what was published on it."""
    published = [
        _make_published_row(trial, row) for row in (trial.benchmark.rows if trial.benchmark else ())
    ]
    return _build_table("ranks", [*_list_runs(trial), *published])


def tabulate_places(trial: Trial) -> ComparisonTable | None:
    """Errors in metres and recall within metres, or None where no places are known."""
    table = _build_table("places", _list_runs(trial))
    return table if table.columns else None


def tabulate_headings(trial: Trial) -> ComparisonTable | None:
    """Errors of headings, or None where none is known or no model answers one."""
    table = _build_table("headings", _list_runs(trial))
    return table if table.columns else None


def tabulate_others(trial: Trial) -> ComparisonTable | None:
    """Figures that :data:`METRICS` does not have, or has with another unit; None without any.

    Nothing is known of them but what the record says, so no value is best.
    """
    table = _build_table("other", _list_runs(trial))
    return table if table.columns else None


def tabulate_means(sweep: Sweep) -> ComparisonTable | None:
    """The mean over 360, 180, 90 and 70 degrees, or None where no run was asked at all four.

    Of published rows it is computed from their four figures; they have no interval.
    """
    measured = [
        replace(
            _make_run_row(mean.result),
            detail=_name_method(mean.result),
            cells={name: _make_cell(figure) for name, figure in mean.figures.items()},
            differs=mean.off_protocol,
        )
        for mean in sweep.means
    ]
    if not measured:
        return None
    return _build_table("fields", [*measured, *_average_published(sweep.first)])


def _average_published(trial: Trial) -> list[TableRow]:
    """Means of the published methods that were measured at all four fields of view."""
    groups: dict[tuple[str, ...], list[PublishedRow]] = {}
    for row in trial.benchmark.rows if trial.benchmark else ():
        c = row.conditions
        if c.fov_deg in FIELDS_DEG and MAIN in row.values:
            key = (row.method, row.variant, row.source, c.models, c.headings, c.trained_on)
            groups.setdefault(key, []).append(row)
    without_field = replace(trial, conditions=replace(trial.conditions, fov_deg=None))
    averages = []
    for rows in groups.values():
        if {row.conditions.fov_deg for row in rows} == set(FIELDS_DEG):
            first = replace(rows[0], conditions=replace(rows[0].conditions, fov_deg=None))
            mean = sum(row.values[MAIN] for row in rows) / len(rows)
            average = _make_published_row(without_field, first)
            averages.append(replace(average, cells={mean_name(MAIN): Cell(mean)}))
    return averages


def title_column(name: str) -> str:
    """What heads the column of a figure."""
    return METRICS[name].title if name in METRICS else name


def _list_runs(trial: Trial) -> list[TableRow]:
    return [_make_run_row(result) for result in trial.results]


def _name_kind(name: str, cell: Cell) -> str:
    """Which table a figure stands in; "other" where it is no metric, or has another unit."""
    metric = METRICS.get(name)
    return metric.kind if metric is not None and metric.unit == cell.unit else "other"


def _build_table(kind: str, rows: Iterable[TableRow]) -> ComparisonTable:
    """The table of one kind of figures; the best of what may be compared is marked."""
    chosen = [
        replace(row, cells={n: c for n, c in row.cells.items() if _name_kind(n, c) == kind})
        for row in sorted(rows, key=_order_by_recall)
    ]
    filled = [row for row in chosen if row.cells]
    names = dict.fromkeys(name for row in filled for name in row.cells)
    columns = sorted(names, key=list(METRICS).index) if kind != "other" else tuple(names)
    same = [row for row in filled if not row.differs]
    apart = sorted((row for row in filled if row.differs), key=lambda row: len(row.differs))
    best = {column: _find_best(column, same) for column in columns} if kind != "other" else {}
    marked = [
        replace(row, cells={
            name: replace(cell, best=cell.note == "" and cell.value == best.get(name))
            for name, cell in row.cells.items()
        })
        for row in same
    ]  # fmt: skip
    return ComparisonTable(tuple(columns), tuple(marked), tuple(apart))


def _order_by_recall(row: TableRow) -> float:
    """Rows by R@1, the best first, in tables of other figures too; rows without it come last."""
    cell = row.cells.get(MAIN) or row.cells.get(mean_name(MAIN))
    return -cell.value if cell else 0.0


def _find_best(column: str, rows: Sequence[TableRow]) -> float | None:
    """The best comparable value of a column; None when there is nothing to compare."""
    cells = [row.cells[column] for row in rows if column in row.cells]
    values = [cell.value for cell in cells if not cell.note]
    if len(values) < 2:
        return None
    return max(values) if METRICS[column].higher_is_better else min(values)


def _make_run_row(result: RunResult) -> TableRow:
    return TableRow(
        name=result.label,
        detail=_describe(result),
        slot=result.slot,
        cells={name: _make_cell(f) for name, f in result.figures.items() if math.isfinite(f.value)},
        trained_on=result.conditions.trained_on,
        representation=result.first.protocol.representation,
        differs=result.conditions.off_protocol,
    )


def _describe(result: RunResult) -> str:
    words = list(filter(None, [_name_method(result)]))
    if result.trainings > 1:
        words.append(phrase("rows.trainings", count=result.trainings))
    elif len(result.evaluations) > 1:
        words.append(phrase("rows.heading_seeds", count=len(result.evaluations)))
    if spread := result.spread(MAIN):
        words.append(phrase("rows.spread", metric=MAIN, spread=spread))
    if skipped := sum(e.skipped for e in result.evaluations):
        words.append(phrase("rows.unreadable", count=skipped))
    return ", ".join(words)


def _name_method(result: RunResult) -> str:
    return result.first.method if result.first.method != result.label else ""


def _make_cell(figure: Figure) -> Cell:
    finite = math.isfinite(figure.low) and math.isfinite(figure.high)
    low, high = (figure.low, figure.high) if finite else (None, None)
    return Cell(figure.value, low, high, figure.unit, figure.n)


def _make_published_row(trial: Trial, row: PublishedRow) -> TableRow:
    ours = trial.results[0].first.k_at_1_percent
    theirs = row.k_at_1_percent
    note = phrase("rows.other_k", k=theirs) if theirs not in (None, ours) else ""
    return TableRow(
        name=row.method,
        detail=", ".join(filter(None, [row.variant, row.venue])),
        slot=None,
        cells={
            name: Cell(value, note=note if "1%" in name else "")
            for name, value in row.values.items()
        },
        trained_on=row.conditions.trained_on,
        differs=(*list_differences(row.conditions, trial.conditions), *_name_other_queries(trial)),
        source=row.source,
        standing=row.standing,
    )


def _name_other_queries(trial: Trial) -> list[str]:
    """A note where the benchmark has other queries than this trial; empty where it has the same.

    A few unreadable pictures are noted in the row; more than 1 % make it another test.
    """
    official = trial.benchmark.queries if trial.benchmark else None
    queries, skipped = trial.queries, trial.results[0].first.skipped
    complete = official == queries + skipped
    if official is None or (complete and skipped <= _MOST_SKIPPED * official):
        return []
    return [phrase("rows.other_queries", official=official, queries=queries)]


def format_results_csv(trials: Iterable[Trial], sweeps: Iterable[Sweep]) -> str:
    """One line per value: measured and published, comparable or not (then ``differs`` says why)."""
    rows = _collect_rows(trials, sweeps)
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
    sweeps: Iterable[Sweep],
    comparisons: Iterable[tuple[Trial, Sequence[RunComparison]]],
    calibrations: Iterable[NamedCalibration],
    created: str,
) -> str:
    """All of it as one JSON object, with the protocol and the command of every record."""
    value = {
        "format": FORMAT,
        "created": created,
        "results": [_order_columns(row) for row in _collect_rows(trials, sweeps)],
        "comparisons": [
            {"test": trial.name, **vars(comparison)} for trial, of_trial in comparisons
            for comparison in of_trial
        ],
        "calibrations": [{"name": c.name, **c.calibration.to_json()} for c in calibrations],
        "records": [_describe_record(e) for t in trials for r in t.results for e in r.evaluations],
    }  # fmt: skip
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _collect_rows(trials: Iterable[Trial], sweeps: Iterable[Sweep]) -> list[dict[str, Any]]:
    """Of every test, then the means over fields of view, which have no field of view."""
    rows = [row for trial in trials for row in _collect_test_rows(trial)]
    for sweep in sweeps:
        if table := tabulate_means(sweep):
            for line in (*table.same, *table.apart):
                rows += [row | {"fov_deg": None} for row in _list_values(sweep.first, line)]
    return rows


def _collect_test_rows(trial: Trial) -> list[dict[str, Any]]:
    tables = [
        tabulate_ranks(trial),
        tabulate_places(trial),
        tabulate_headings(trial),
        tabulate_others(trial),
    ]
    lines = [line for table in tables if table for line in (*table.same, *table.apart)]
    return [row for line in lines for row in _list_values(trial, line)]


def _list_values(trial: Trial, line: TableRow) -> list[dict[str, Any]]:
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


def format_latex_tables(trials: Iterable[Trial], sweeps: Iterable[Sweep]) -> str:
    """One table per test, then the means over fields of view.

    What was measured elsewhere is set apart in the same table.
    """
    means = [
        format_latex_table(sweep.first, table, sweep.mean_name)
        for sweep in sweeps
        if (table := tabulate_means(sweep))
    ]
    return "\n".join(
        [
            *(format_latex_table(trial, tabulate_ranks(trial)) for trial in trials),
            *means,
        ]
    )


def format_latex_table(trial: Trial, table: ComparisonTable, name: str = "") -> str:
    """One table; the best comparable value of each column is bold.

    ``name`` of what is shown, if not the trial's.
    """
    name = name or trial.name
    titles = [phrase("latex.method"), *map(title_column, table.columns)]
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


def _format_row(line: TableRow, columns: Iterable[str]) -> str:
    detail = ", ".join(filter(None, [line.detail, "; ".join(line.differs)]))
    name = escape_latex(line.name) + (rf" {{\scriptsize {escape_latex(detail)}}}" if detail else "")
    return " & ".join([name, *(_format_value(line.cells.get(c)) for c in columns)]) + r" \\"


def _format_value(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value = rf"\textbf{{{cell.value:.2f}}}" if cell.best else f"{cell.value:.2f}"
    if cell.low is not None and cell.high is not None:
        value += rf" {{\scriptsize [{cell.low:.1f}, {cell.high:.1f}]}}"
    return value
