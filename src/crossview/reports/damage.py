"""R@1 on damaged pictures: one chart per kind of damage, one table for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from crossview.evaluation.metrics import MAIN
from crossview.reports.comparison import value_cell
from crossview.reports.legend import swatch
from crossview.reports.markup import Html, tag
from crossview.reports.report_tables import tabulate_ranks
from crossview.reports.results import RunResult, Trial
from crossview.reports.svg import Panel, draw_points, draw_svg, set_percent_axis

MOST_SEVERE = 5


def damaged(trials: Sequence[Trial]) -> list[Trial]:
    """The trials on damaged pictures."""
    return [trial for trial in trials if trial.conditions.corruption]


def damage_panels(trials: Sequence[Trial]) -> list[Panel]:
    """A chart per data set, view and kind of damage, from the clean pictures to the worst."""
    groups: dict[tuple[object, ...], dict[int, Trial]] = {}
    for trial in damaged(trials):
        name, severity = kind_and_severity(trial)
        groups.setdefault((*_clean_key(trial), name), {})[severity] = trial
    clean = {_clean_key(trial): trial for trial in trials if not trial.conditions.corruption}
    return [
        _panel(str(key[-1]), {**({0: clean[key[:-1]]} if key[:-1] in clean else {}), **found})
        for key, found in groups.items()
    ]


def kind_and_severity(trial: Trial) -> tuple[str, int]:
    """What was done to the pictures and how much, from 1 to 5; a bare name counts as 1."""
    name, _, severity = trial.conditions.corruption.rpartition(" ")
    return (name, int(severity)) if name and severity.isdigit() else (name or severity, 1)


def damage_table(trials: Sequence[Trial]) -> Html:
    """R@1 with its interval: tests by runs."""
    found = damaged(trials)
    runs = dict(sorted((r.slot, r.label) for trial in found for r in trial.results))
    named = [tag("span", swatch(slot), label, class_="name") for slot, label in runs.items()]
    head = [tag("th", f"{MAIN}, percent", scope="col"), *(tag("th", n, scope="col") for n in named)]
    rows = []
    for trial in found:
        lines = {line.slot: line for line in tabulate_ranks(trial).same}
        title = [trial.title, tag("span", trial.conditions.words, class_="detail")]
        cells = [value_cell(lines[s].cells.get(MAIN) if s in lines else None) for s in runs]
        rows.append(tag("tr", tag("th", title, scope="row"), cells))
    caption = f"n = {max(t.queries for t in found):,}; below each value its 95 % interval."
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex="0")


def _clean_key(trial: Trial) -> tuple[object, ...]:
    c = trial.conditions
    return (trial.title, c.headings, c.fov_deg, c.rule, c.trained_on)


def _panel(name: str, found: dict[int, Trial]) -> Panel:
    runs: dict[int, list[tuple[float, RunResult]]] = {}
    for severity, trial in sorted(found.items()):
        for result in trial.results:
            if MAIN in result.figures:
                runs.setdefault(result.slot, []).append((severity, result))

    def draw(axes: Axes) -> None:
        for slot, given in runs.items():
            draw_points(axes, slot, given, MAIN)
        axes.set_xticks(range(MOST_SEVERE + 1), ["clean", *map(str, range(1, MOST_SEVERE + 1))])
        axes.set_xlim(-0.3, MOST_SEVERE + 0.3)
        set_percent_axis(axes)
        axes.set_xlabel("severity")

    trial = next(iter(found.values()))
    note = f"R@1 of {trial.queries:,} queries, {trial.conditions.words}."
    return Panel(draw_svg(draw, f"R@1 with {name}, {note}"), f"{trial.title}, {name}", note)
