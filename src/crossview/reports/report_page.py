"""A report: the page and its numbers as files in one folder.

The report page: one HTML file that needs neither network nor script to be read.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from crossview.evaluation.evaluation_record import Evaluation
from crossview.files import write_together
from crossview.locks import locked
from crossview.outputs.page_images import Budget
from crossview.reports.comparison import comparison, mean_tables
from crossview.reports.damage import damage_panels, damage_table, damaged
from crossview.reports.definitions import definitions, records_table, sources
from crossview.reports.evidence import differences_matrix, gallery_section, panels
from crossview.reports.exports import (
    format_latex_tables,
    format_report_json,
    format_results_csv,
    format_significance_csv,
)
from crossview.reports.figures import (
    collect_scores,
    draw_answered,
    draw_errors,
    draw_fields_of_view,
    draw_maps,
    draw_recall,
    draw_similarities,
)
from crossview.reports.legend import kinds_line, runs_bar
from crossview.reports.markup import Child, Html, join, tag
from crossview.reports.results import RunResult, Trial, sort_into_trials
from crossview.reports.significance import compare_runs
from crossview.reports.svg import Panel
from crossview.reports.trust import NamedCalibration, draw_reliabilities, trust_table
from crossview.reports.verdicts import Compared, overview
from crossview.reports.wording import SECTIONS

PICTURE_BYTES = 8_000_000  # of all galleries together
_NARROW = 3  # runs whose matrix fits into half the width
_MARK = Html(
    '<svg viewBox="0 0 32 32" aria-hidden="true">'
    '<rect x="1" y="1" width="30" height="30" rx="7" class="mark-ground"/>'
    '<path d="M16 23 7 8a17.5 17.5 0 0 1 18 0Z" class="mark-view"/>'
    '<circle cx="16" cy="23" r="3.4" class="mark-eye"/></svg>'
)


@dataclass(frozen=True)
class Section:
    """A part of the page; ``key`` is its anchor and finds its words in :data:`SECTIONS`."""

    key: str
    parts: Sequence[Html]
    below: tuple[tuple[str, str], ...] = ()  # (anchor, title) for the contents


@dataclass(frozen=True)
class Evidence:
    """Everything that a report shows; ``exports`` are files (name: text) that it offers to save."""

    trials: Sequence[Trial]
    compared: Compared
    calibrations: Sequence[NamedCalibration]
    exports: Mapping[str, str]


def render_report(title: str, created: str, evidence: Evidence) -> str:
    """The whole page."""
    trials = evidence.trials
    sections = [s for s in _sections(evidence) if s.parts]
    script = _text("page/report.js")
    main = tag("main", [_section(section) for section in sections])
    body = [
        _header(title, created, trials),
        runs_bar(trials),
        tag("div", _contents(sections), main, class_="frame"),
        tag("script", Html(script)),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title} - crossview"),
        tag("style", Html(_text("page/report.css"))),
    ]
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", body), lang="en") + "\n"


def _sections(evidence: Evidence) -> Iterable[Section]:
    trials, compared = evidence.trials, evidence.compared
    harmed = damaged(trials)
    clean = [trial for trial in trials if trial not in harmed] or list(trials)
    yield Section("overview", overview(clean, compared))
    tables = [part for trial in clean for part in comparison(trial)]
    yield Section("results", tables, tuple((trial.key, trial.name) for trial in clean))
    matrices = [differences_matrix(t, found) for t, found in compared if found and t in clean]
    wide = max(len(trial.results) for trial in clean) > _NARROW
    box = tag("div", matrices, class_="matrices wide" if wide else "matrices")
    yield Section("differences", [box] if matrices else [])
    yield from _chart_sections(clean)
    if trusted := evidence.calibrations:
        yield Section("trust", [panels(draw_reliabilities(trusted)), trust_table(trusted)])
    damage = damage_panels(trials)
    yield Section("damage", [panels(damage), damage_table(trials)] if damage else [])
    budget = Budget(PICTURE_BYTES)
    shown = [(trial, result) for trial in _leading(clean) for result in trial.results]
    yield Section("galleries", [p for t, r in shown for p in gallery_section(t, r, budget)])
    parts = [*definitions(trials), *sources(trials), records_table(trials)]
    yield Section("method", [*parts, _downloads(evidence.exports)])


def _leading(trials: Sequence[Trial]) -> list[Trial]:
    """The widest and the narrowest view of each data set: what is large is shown for them alone."""
    first = {trial.title: trial for trial in reversed(trials)}
    last = {trial.title: trial for trial in trials}
    ends = {first[trial.title].key for trial in trials} | {t.key for t in last.values()}
    return [trial for trial in trials if trial.key in ends]


def _chart_sections(trials: Sequence[Trial]) -> Iterable[Section]:
    """One section per kind of chart; those with nothing to draw are empty."""
    leading = _leading(trials)
    yield _charts("recall", map(draw_recall, trials))
    yield _charts("fields", draw_fields_of_view(trials), mean_tables(trials))
    yield _charts("errors", map(draw_errors, trials))
    kinds = [collect_scores(result) for trial in leading for result in trial.results]
    names = [name for _, name, _ in max(kinds, key=len)]
    yield _charts("scores", _each(leading, draw_similarities), [kinds_line(names)])
    yield _charts("sure", map(draw_answered, trials))
    maps = [panel for t in leading for result in t.results for panel in draw_maps(t, result)]
    yield _charts("maps", maps, [kinds_line(["within 25 m", "further away"])])


def _charts(key: str, made: Iterable[Panel | None], before: Sequence[Html] = ()) -> Section:
    drawn = [panel for panel in made if panel is not None]
    return Section(key, [*before, panels(drawn)] if drawn else [])


def _each(
    trials: Sequence[Trial], draw: Callable[[Trial, RunResult], Panel | None]
) -> list[Panel | None]:
    return [draw(trial, result) for trial in trials for result in trial.results]


def _section(section: Section) -> Html:
    title, intro = SECTIONS[section.key]
    words = tag("p", intro, class_="intro") if intro else None
    return tag("section", tag("h2", title), words, section.parts, id=section.key)


def _contents(sections: Sequence[Section]) -> Html:
    items = [
        tag("li", _link(SECTIONS[s.key][0], s.key), tag("ul", [
            tag("li", _link(name, key)) for key, name in s.below]) if s.below else None)
        for s in sections
    ]  # fmt: skip
    return tag("nav", tag("ul", items), aria_label="Contents")


def _link(text: str, key: str) -> Html:
    return tag("a", text, href=f"#{key}")


def _header(title: str, created: str, trials: Sequence[Trial]) -> Html:
    runs = len({result.label for trial in trials for result in trial.results})
    words = f"{_count(runs, 'run')} on {_count(len(trials), 'test')}, {created}."
    theme = tag("button", "Light / dark", id="theme", type="button", class_="theme", hidden=True)
    brand = tag("div", _MARK, "crossview", theme, class_="brand")
    return tag("header", brand, tag("h1", title), tag("p", words, class_="lede"), class_="top")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _downloads(exports: Mapping[str, str]) -> Html:
    """The numbers, carried inside the page."""
    links: list[Child] = []
    for name, text in exports.items():
        data = base64.b64encode(text.encode()).decode()
        links += [tag("a", name, download=name, href=f"data:text/plain;base64,{data}"), "  "]
    return tag("p", "Save the numbers: ", join(links), class_="intro")


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _text(name: str) -> str:
    return (files("crossview.reports") / name).read_text(encoding="utf-8")


PAGE_NAME = "report.html"


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """What a report is called, when it was made, and what its resampling and flips draw from."""

    title: str
    created: str
    seed: int = 0


def write_report(
    evaluations: Sequence[Evaluation],
    out: str | Path,
    about: ReportFacts,
    calibrations: Sequence[NamedCalibration] = (),
) -> Path:
    """Write the page, ``report.json``, ``results.csv``, ``significance.csv``, ``tables.tex``.

    Returns the page, which is written last.
    """
    trials = sort_into_trials(evaluations)
    compared = compare_runs(trials, about.seed)
    exports = {
        "results.csv": format_results_csv(trials),
        "significance.csv": format_significance_csv(compared),
        "tables.tex": format_latex_tables(trials),
    }
    evidence = Evidence(trials, compared, calibrations, exports)
    page = render_report(about.title, about.created, evidence)
    numbers = format_report_json(trials, compared, calibrations, about.created)
    contents = {"report.json": numbers, **exports, PAGE_NAME: page}
    with locked(out, "crossview report", wait=True, make_parents=True):
        write_together(out, contents, contents)
    return Path(out) / PAGE_NAME
