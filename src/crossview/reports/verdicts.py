"""The first screen: what came out, in sentences and in one table over all tests."""

from __future__ import annotations

from collections.abc import Sequence

from crossview.evaluation.headline import FIELDS_WORDS
from crossview.evaluation.metrics import MAIN, mean_name
from crossview.reports.comparison import interval_glyph
from crossview.reports.legend import swatch
from crossview.reports.markup import Child, Html, tag
from crossview.reports.report_tables import ComparisonTable, tabulate_means, tabulate_ranks
from crossview.reports.results import RunResult, Trial, group_sweeps
from crossview.reports.significance import RunComparison

Compared = Sequence[tuple[Trial, Sequence[RunComparison]]]
_MOST_VERDICTS = 8


def overview(trials: Sequence[Trial], compared: Compared) -> list[Html]:
    """Verdicts, then R@1 of every run on every test."""
    known = {id(trial): found for trial, found in compared}
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.title, []).append(trial)
    verdicts = [text for same in groups.values() for text in _verdicts(same, known[id(same[0])])]
    items = [tag("li", text, class_="told") for text in verdicts[:_MOST_VERDICTS]]
    left = len(verdicts) - len(items)
    more = tag("li", f"{left} more below.", class_="muted") if left > 0 else None
    return [tag("ul", items, more, class_="verdicts"), _matrix(trials)]


def _verdicts(trials: Sequence[Trial], found: Sequence[RunComparison]) -> list[list[Child]]:
    """The leader's R@1 on the first of the trials of one data set, its lead, and the others."""
    trial, *others = trials
    ranked = sorted(_comparable(trial), key=lambda r: -r.figures[MAIN].value)
    if not ranked:
        return []
    figure = ranked[0].figures[MAIN]
    told: list[Child] = [
        tag("strong", f"{trial.name}: "),
        f"{ranked[0].label} finds the right place first for {figure.value:.1f} % of "
        f"{figure.n:,} queries ({figure.low:.1f} to {figure.high:.1f}), "
        f"out of {trial.references:,} references{chance_in_words(trial)}. ",
    ]
    if len(ranked) > 1:
        pair = {ranked[0].slot, ranked[1].slot}
        told += [_against(c, ranked[0]) for c in found if {c.slot, c.against_slot} == pair]
    told += [_elsewhere(other, ranked[0]) for other in others]
    return [told]


def _elsewhere(trial: Trial, leader: RunResult) -> str:
    """What the leader of the first trial reaches under other conditions."""
    result = next((r for r in trial.results if r.slot == leader.slot), None)
    figure = result.figures.get(MAIN) if result else None
    if result is None or figure is None:
        return ""
    off = "".join(f" ({text})" for text in result.conditions.off_protocol)
    return f" At {trial.conditions.words}: {figure.value:.1f} %{off}."


def _against(comparison: RunComparison, leader: RunResult) -> str:
    """The comparison in words, seen from the leader."""
    turned = comparison.slot != leader.slot
    sign = -1.0 if turned else 1.0
    other = comparison.run if turned else comparison.against
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    span = f"{points(sign * comparison.difference)} points ({points(low)} to {points(high)})"
    p = p_in_words(comparison.p_holm)
    if comparison.sure:
        return f"It is ahead of {other} by {span}, {p}."
    return f"Its lead over {other}, {span}, may be chance: {p}."


def chance_in_words(trial: Trial) -> str:
    """The share that guessing finds, where it is known."""
    return "" if trial.chance_percent is None else f"; chance is {trial.chance_percent:.2g} %"


def points(value: float) -> str:
    """A difference with its sign, and a real minus; what rounds to nothing has no sign."""
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")


def p_in_words(p: float) -> str:
    """A p value with as many digits as make sense."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _comparable(trial: Trial) -> list[RunResult]:
    return [r for r in trial.results if MAIN in r.figures and not r.conditions.off_protocol]


def _matrix(trials: Sequence[Trial]) -> Html:
    """Tests by runs."""
    runs = dict(sorted((r.slot, r.label) for trial in trials for r in trial.results))
    named = [tag("span", swatch(slot), label, class_="name") for slot, label in runs.items()]
    head = [tag("th", f"{MAIN}, percent", scope="col"),
            *(tag("th", name, scope="col", class_="words") for name in named)]  # fmt: skip
    rows = [
        tag("tr", tag("th", tag("a", trial.title, href=f"#{trial.key}"),
                      tag("span", trial.conditions.words, class_="detail"), scope="row"),
            [_cell(tabulate_ranks(trial), MAIN, slot) for slot in runs])
        for trial in trials
    ]  # fmt: skip
    rows += [
        tag("tr", tag("th", tag("a", sweep.first.title, href="#fields"),
                      tag("span", f"mean over {FIELDS_WORDS}, heading "
                          f"{sweep.first.conditions.headings}", class_="detail"), scope="row"),
            [_cell(means, mean_name(MAIN), slot) for slot in runs])
        for sweep in group_sweeps(trials)
        if (means := tabulate_means(sweep))
    ]  # fmt: skip
    caption = "Each value with its 95 % interval and the number of queries it rests on."
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex="0")


def _cell(table: ComparisonTable, metric: str, slot: int) -> Html:
    line = next((x for x in (*table.same, *table.apart) if x.slot == slot), None)
    cell = line.cells.get(metric) if line else None
    if line is None or cell is None:
        return tag("td", tag("span", "–", class_="muted", title="not measured"), class_="words")
    known = cell.low is not None
    span = f"{cell.low:.1f} – {cell.high:.1f}" if known else "no interval"
    told = [span, f"n = {cell.n:,}" if cell.n else ""]
    return tag(
        "td",
        tag("span", f"{cell.value:.1f} ", class_="value"),
        interval_glyph(cell, slot),
        tag("span", "; ".join(filter(None, told)), class_="range"),
        tag("span", "; ".join(line.differs), class_="detail") if line.differs else None,
        class_="words",
    )
