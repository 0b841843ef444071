"""The tables of one test as HTML: comparable rows, and the others apart with what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crossview.evaluation.headline import FIELDS_WORDS
from crossview.evaluation.metrics import MAIN
from crossview.reports.exports import format_latex_table
from crossview.reports.legend import swatch
from crossview.reports.markup import Child, Html, tag
from crossview.reports.published import STANDINGS
from crossview.reports.report_tables import (
    Cell,
    ComparisonTable,
    TableRow,
    tabulate_means,
    tabulate_others,
    tabulate_places,
    tabulate_ranks,
    title_column,
)
from crossview.reports.results import Trial, group_sweeps

_OPEN_UP_TO = 6  # rows of other protocols; more are folded away


def comparison(trial: Trial) -> list[Html]:
    """Heading, what was asked, the tables and their LaTeX."""
    ranks = tabulate_ranks(trial)
    parts = [
        tag("h3", trial.name, id=trial.key),
        tag("p", _asked(trial), class_="intro small"),
        _scrolled(_table(ranks, ranks.same, _caption(trial, ranks), _notes)),
        *_apart(ranks),
    ]
    if (places := tabulate_places(trial)) is not None:
        caption = (
            "Where the first reference lies against the truth, over queries whose place is known; "
            "below each value its 95 % interval."
        )
        parts += [_scrolled(_table(places, places.same, caption, _notes)), *_apart(places)]
    if (others := tabulate_others(trial)) is not None:
        units = {name: cell.unit for line in (*others.same, *others.apart)
                 for name, cell in line.cells.items()}  # fmt: skip
        named = ", ".join(f"{name} ({unit or 'no unit'})" for name, unit in units.items())
        caption = (
            f"Other figures, as the records have them: {named}. This version does not know them, "
            "so none is compared or best."
        )
        parts += [_scrolled(_table(others, others.same, caption, _notes)), *_apart(others)]
    latex = tag("pre", format_latex_table(trial, ranks))
    return [*parts, tag("details", tag("summary", "This table as LaTeX"), latex)]


def mean_tables(trials: Iterable[Trial]) -> list[Html]:
    """The means over fields of view, a table for every data set and way of treating headings."""
    parts: list[Html] = []
    for sweep in group_sweeps(trials):
        if (table := tabulate_means(sweep)) is None:
            continue
        caption = (
            f"{sweep.name}: mean over {FIELDS_WORDS}, over the queries asked at all four; below "
            "each value its 95 % interval: the hits of a query are averaged first, then clusters "
            "of queries resampled. Published means are computed from their four figures."
        )
        latex = tag(
            "pre", format_latex_table(sweep.first, table, f"{sweep.name}, mean of {FIELDS_WORDS}")
        )
        parts += [
            _scrolled(_table(table, table.same, caption, _notes)),
            *_apart(table),
            tag("details", tag("summary", "This table as LaTeX"), latex),
        ]
    return parts


def interval_glyph(cell: Cell, slot: int | None) -> Html:
    """Value and interval on a line from 0 to 100 %; a published value is a hollow diamond."""
    x = 1.2 * cell.value
    marks: list[Html] = [tag("line", x1=0, x2=120, y1=8, y2=8, class_="track")]
    if cell.low is not None and cell.high is not None:
        low, high = (f"{1.2 * end:.1f}" for end in (cell.low, cell.high))
        colour = f"stroke: var(--run-{(slot or 0) % 8})"
        marks.append(tag("line", x1=low, x2=high, y1=8, y2=8, class_="range-line", style=colour))
    if slot is None:
        marks.append(tag("path", d=f"M{x:.1f} 3l5 5-5 5-5-5z", class_="theirs"))
    else:
        marks.append(tag("circle", cx=f"{x:.1f}", cy=8, r=5, style=f"fill: var(--run-{slot % 8})"))
    return tag("svg", marks, viewBox="0 0 120 16", class_="glyph", aria_hidden="true")


def value_cell(cell: Cell | None) -> Html:
    """A value over its interval; the best of its column is marked."""
    if cell is None:
        return tag("td", tag("span", "–", class_="muted", title="not given"))
    digits = {"%": 1, "m": 0 if cell.value >= 100 else 1}.get(cell.unit, 3)
    known = cell.low is not None and cell.high is not None
    span = f"{cell.low:,.{digits}f} – {cell.high:,.{digits}f}" if known else ""
    shown = [
        tag("span", f"{cell.value:,.{digits}f}", class_="value"),
        tag("span", span, class_="range") if known else None,
        tag("span", cell.note, class_="range") if cell.note else None,
        tag("span", "best of the comparable rows", class_="hidden") if cell.best else None,
    ]
    return tag("td", shown, class_="best" if cell.best else None)


def _table(
    table: ComparisonTable,
    lines: Iterable[TableRow],
    caption: str,
    last: Callable[[TableRow], Child],
    note: str = "",
) -> Html:
    glyphs = MAIN in table.columns
    head = [
        tag("th", "Run or method", scope="col"),
        tag("th", tag("span", f"{MAIN} from 0 to 100", class_="muted"), scope="col",
            class_="glyph-column words") if glyphs else None,
        *(tag("th", title_column(column), scope="col") for column in table.columns),
        tag("th", note or "Notes", scope="col", class_="words"),
    ]  # fmt: skip
    body = [_row(table, line, glyphs, last) for line in lines]
    return tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))


def _row(
    table: ComparisonTable, line: TableRow, glyphs: bool, last: Callable[[TableRow], Child]
) -> Html:
    main = line.cells.get(MAIN)
    name = [swatch(line.slot) if line.slot is not None else None, line.name]
    cells = [
        tag("th", tag("span", name, class_="name"),
            tag("span", line.detail, class_="detail") if line.detail else None, scope="row"),
        tag("td", interval_glyph(main, line.slot) if main else None, class_="glyph-column words")
        if glyphs else None,
        *(value_cell(line.cells.get(column)) for column in table.columns),
        tag("td", last(line), class_="words"),
    ]  # fmt: skip
    return tag("tr", cells, class_="measured" if line.slot is not None else None)


def _apart(table: ComparisonTable) -> list[Html]:
    """Rows of other protocols: what differs stands in the last column, and none is best."""
    if not table.apart:
        return []
    count = len(table.apart)
    caption = (
        "Measured under other conditions: the last column names what differs from the rows above. "
        "Do not compare them with those rows; no best value is marked."
    )
    inner = _scrolled(_table(table, table.apart, caption, _differs, "What differs"))
    title = f"Other protocols, set apart: {count} {'row' if count == 1 else 'rows'}"
    return [tag("details", tag("summary", title), inner, open=count <= _OPEN_UP_TO)]


def _notes(line: TableRow) -> Child:
    if line.slot is None:
        return _source(line)
    told = [f"input {line.representation}" if line.representation else "",
            f"trained on {line.trained_on}" if line.trained_on else "", *line.differs]  # fmt: skip
    return "; ".join(filter(None, told))


def _differs(line: TableRow) -> Child:
    return [tag("span", "; ".join(line.differs), class_="value small"),
            tag("span", _source(line), class_="detail") if line.source else None]  # fmt: skip


def _source(line: TableRow) -> Html:
    """How the figure is known, leading to the list of sources."""
    title = f"{STANDINGS[line.standing]}: {line.source}"
    return tag("a", line.standing, href="#sources", title=title)


def _asked(trial: Trial) -> str:
    protocol = trial.results[0].first.protocol
    return (
        f"{trial.queries:,} queries ask {trial.references:,} references; right is: "
        f"{protocol.relation}. Split {trial.results[0].first.split}, {protocol.decoding} decoding."
        + ("" if trial.chance_percent is None else f" Chance of R@1: {trial.chance_percent:.2g} %.")
    )


def _caption(trial: Trial, table: ComparisonTable) -> str:
    over = sorted({f.over for r in trial.results for f in r.figures.values()})
    k = trial.results[0].first.k_at_1_percent
    published = any(line.slot is None for line in table.same)
    theirs = (
        " Published rows come without intervals, and let ties count for the query; the best value "
        "of a column may lie within the interval of another."
    )
    return (
        f"Percent of queries, over {' and '.join(over)}, n = {trial.queries:,}; below each value "
        f"its 95 % interval. R@1% is k = {k}. The truth's rank counts every reference that is "
        f"better or equal.{theirs if published else ''}"
    )


def _scrolled(table: Html) -> Html:
    return tag("div", table, class_="scroll", tabindex="0")
