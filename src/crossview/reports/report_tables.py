"""A test as a table: measured and published rows that may be compared, the others set apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from crossview.evaluation.evaluation_record import Figure
from crossview.evaluation.headline import FIELDS_DEG
from crossview.evaluation.metrics import MAIN, METRICS, mean_name, metric_of
from crossview.reports.published import PublishedRow, list_differences
from crossview.reports.results import RunResult, Sweep, Trial
from crossview.reports.texts import phrase

_MOST_SKIPPED = 0.01  # share of a benchmark's queries


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
        _published(trial, row) for row in (trial.benchmark.rows if trial.benchmark else ())
    ]
    return _table("ranks", [*_all_measured(trial), *published])


def tabulate_places(trial: Trial) -> ComparisonTable | None:
    """Errors in metres and recall within metres, or None where no places are known."""
    table = _table("places", _all_measured(trial))
    return table if table.columns else None


def tabulate_others(trial: Trial) -> ComparisonTable | None:
    """Figures that :data:`METRICS` does not have, or has with another unit; None without any.

    Nothing is known of them but what the record says, so no value is best.
    """
    table = _table("other", _all_measured(trial))
    return table if table.columns else None


def tabulate_means(sweep: Sweep) -> ComparisonTable | None:
    """The mean over 360, 180, 90 and 70 degrees, or None where no run was asked at all four.

    Of published rows it is computed from their four figures; they have no interval.
    """
    first = sweep.first
    measured = [
        replace(
            _measured(first, mean.result),
            detail=_method(mean.result),
            cells={name: _cell(figure) for name, figure in mean.figures.items()},
            differs=mean.off_protocol,
        )
        for mean in sweep.means
    ]
    if not measured:
        return None
    rows = first.benchmark.rows if first.benchmark else ()
    by_row: dict[tuple[str, ...], list[PublishedRow]] = {}
    for row in rows:
        if row.conditions.fov_deg in FIELDS_DEG:
            key = (row.method, row.variant, row.source, row.conditions.models,
                   row.conditions.headings, row.conditions.trained_on)  # fmt: skip
            by_row.setdefault(key, []).append(row)
    published = [
        replace(
            _published(replace(first, conditions=replace(first.conditions, fov_deg=None)), line),
            cells={mean_name(MAIN): Cell(sum(r.values[MAIN] for r in four) / len(four))},
        )
        for four in by_row.values()
        if {r.conditions.fov_deg for r in four if MAIN in r.values} == set(FIELDS_DEG)
        for line in [replace(four[0], conditions=replace(four[0].conditions, fov_deg=None))]
    ]
    return _table("fields", [*measured, *published])


def title_column(name: str) -> str:
    """What heads the column of a figure."""
    return METRICS[name].title if name in METRICS else name


def _all_measured(trial: Trial) -> list[TableRow]:
    return [_measured(trial, result) for result in trial.results]


def _kind(name: str, cell: Cell) -> str:
    metric = metric_of(name, cell.unit)
    return metric.kind if metric else "other"


def _table(kind: str, lines: Iterable[TableRow]) -> ComparisonTable:
    chosen = [
        replace(line, cells={n: cell for n, cell in line.cells.items() if _kind(n, cell) == kind})
        for line in sorted(lines, key=_leading)
    ]
    kept = [line for line in chosen if line.cells]
    there = dict.fromkeys(name for line in kept for name in line.cells)
    columns = sorted(there, key=list(METRICS).index) if kind != "other" else tuple(there)
    same = [line for line in kept if not line.differs]
    apart = sorted((line for line in kept if line.differs), key=lambda line: len(line.differs))
    best = {column: _best(column, same) for column in columns} if kind != "other" else {}
    marked = [
        replace(line, cells={
            c: replace(cell, best=cell.note == "" and cell.value == best.get(c))
            for c, cell in line.cells.items()
        })
        for line in same
    ]  # fmt: skip
    return ComparisonTable(tuple(columns), tuple(marked), tuple(apart))


def _leading(line: TableRow) -> float:
    """Rows by R@1, the best first, in tables of other figures too; rows without it come last."""
    cell = line.cells.get(MAIN) or line.cells.get(mean_name(MAIN))
    return -cell.value if cell else 0.0


def _best(column: str, lines: Sequence[TableRow]) -> float | None:
    """The best comparable value of a column; None when there is nothing to compare."""
    values = [line.cells[column].value for line in lines if column in line.cells
              and not line.cells[column].note]  # fmt: skip
    if len(values) < 2:
        return None
    return max(values) if METRICS[column].higher_is_better else min(values)


def _measured(trial: Trial, result: RunResult) -> TableRow:
    return TableRow(
        name=result.label,
        detail=_detail(result),
        slot=result.slot,
        cells={name: _cell(f) for name, f in result.figures.items() if math.isfinite(f.value)},
        trained_on=result.conditions.trained_on,
        representation=result.first.protocol.representation,
        differs=result.conditions.off_protocol,
    )


def _detail(result: RunResult) -> str:
    parts = list(filter(None, [_method(result)]))
    if result.trainings > 1:
        parts.append(phrase("rows.trainings", count=result.trainings))
    elif len(result.evaluations) > 1:
        parts.append(phrase("rows.heading_seeds", count=len(result.evaluations)))
    if spread := result.spread(MAIN):
        parts.append(phrase("rows.spread", metric=MAIN, spread=spread))
    if skipped := sum(e.skipped for e in result.evaluations):
        parts.append(phrase("rows.unreadable", count=skipped))
    return ", ".join(parts)


def _method(result: RunResult) -> str:
    return result.first.method if result.first.method != result.label else ""


def _cell(figure: Figure) -> Cell:
    known = math.isfinite(figure.low) and math.isfinite(figure.high)
    low, high = (figure.low, figure.high) if known else (None, None)
    return Cell(figure.value, low, high, figure.unit, figure.n)


def _published(trial: Trial, row: PublishedRow) -> TableRow:
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
