"""A report: a page that needs neither network nor script to be read, and its numbers beside it.

This module says what each section holds; ``templates`` says how it looks, ``languages`` what it
says.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.metrics import MAIN, METRICS, mean_name
from crossview.evaluation.run_comparison import FIELDS_WORDS
from crossview.files import write_together
from crossview.locks import lock
from crossview.outputs.page_images import Budget
from crossview.reports import report_tables
from crossview.reports.figures import (
    RUN_PENS,
    Panel,
    collect_scores,
    dashes,
    draw_answered,
    draw_damage,
    draw_errors,
    draw_fields_of_view,
    draw_maps,
    draw_recall,
    draw_similarities,
    is_damaged,
    marker_path,
)
from crossview.reports.gallery import pick_cards
from crossview.reports.report_tables import (
    format_latex_table,
    format_latex_tables,
    format_report_json,
    format_results_csv,
    format_significance_csv,
)
from crossview.reports.results import RunResult, Sweep, Trial, group_sweeps, sort_into_trials
from crossview.reports.significance import (
    Compared,
    RunComparison,
    compare_runs,
    format_p,
    format_points,
    write_verdicts,
)
from crossview.reports.trust import NamedCalibration, draw_reliability, format_share, list_kinds
from crossview.texts import get_language, phrase


def render_frame(template: str, tools: Mapping[str, Any], **content: Any) -> str:
    """A page of ``templates``, of the language that is spoken; ``tools`` are for all of its parts.

    Text is escaped, a missing value is an error, and no script runs but that of reports.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"phrase": phrase, "language": get_language(), **tools}
    script = _read_file("report.js")
    return environment.get_template(template).render(
        **content,
        style=_read_file("report.css"),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _read_file(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


PAGE_NAME = "report.html"
PICTURE_BYTES = 8_000_000  # of all galleries together
_MOST_VERDICTS = 8
_NARROW = 3  # runs whose matrix fits into half the width
_EXPLAINED = ("interval", "paired_test", "unknown_heading", "not_trained_for")


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """What a report is called, when it was made, and what its resampling and flips draw from."""

    title: str
    created: str
    seed: int = 0


@dataclass(frozen=True)
class Section:
    """A part of the page; ``key`` is its anchor and names its heading among the texts.

    The template is that of ``key`` unless one is named; ``content`` is what it shows.
    """

    key: str
    content: Mapping[str, Any]
    template: str = ""


@dataclass(frozen=True)
class Evidence:
    """Everything that a report shows; ``exports`` are files (name: text) that it offers to save."""

    trials: Sequence[Trial]
    sweeps: Sequence[Sweep]  # of these trials
    compared: Compared
    calibrations: Sequence[NamedCalibration]
    exports: Mapping[str, str]

    @property
    def clean(self) -> list[Trial]:
        """The trials on pictures as they are; all of them if there is none."""
        return [trial for trial in self.trials if not is_damaged(trial)] or list(self.trials)

    @property
    def clean_sweeps(self) -> list[Sweep]:
        """The sweeps of the clean trials."""
        clean = self.clean
        return [sweep for sweep in self.sweeps if sweep.first in clean]


@dataclass(frozen=True)
class CaptionedTables:
    """Tables with their captions, the first of them also as LaTeX, and what the test asked."""

    trial: Trial
    tables: Sequence[tuple[report_tables.ComparisonTable, str]]
    latex: str
    question: str = ""


@dataclass(frozen=True)
class DifferenceMatrix:
    """What every run has more than another on one test, by (slot, other slot)."""

    trial: Trial
    runs: Sequence[RunResult]
    differences: Mapping[tuple[int, int], RunComparison]
    caption: str


@dataclass(frozen=True)
class OverviewRow:
    """One figure of all runs: of a test, or of the means over its fields of view."""

    anchor: str
    title: str
    detail: str
    table: report_tables.ComparisonTable
    metric: str


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
    sweeps = group_sweeps(trials)
    compared = compare_runs(trials, about.seed)
    exports = {
        "results.csv": format_results_csv(trials, sweeps),
        "significance.csv": format_significance_csv(compared),
        "tables.tex": format_latex_tables(trials, sweeps),
    }
    evidence = Evidence(trials, sweeps, compared, calibrations, exports)
    page = render_report(about.title, about.created, evidence)
    numbers = format_report_json(trials, sweeps, compared, calibrations, about.created)
    contents = {"report.json": numbers, **exports, PAGE_NAME: page}
    with lock(out, "crossview report", wait=True, make_parents=True):
        write_together(out, contents, contents)
    return Path(out) / PAGE_NAME


def render_report(title: str, created: str, evidence: Evidence) -> str:
    """The whole page."""
    trials = evidence.trials
    labels = {result.label for trial in trials for result in trial.results}
    lede = phrase(
        "page.lede",
        runs=phrase("page.runs", count=len(labels)),
        tests=phrase("page.tests", count=len(trials)),
        created=created,
    )
    return render_frame(
        "report.html",
        {
            "main": MAIN,
            "title_column": report_tables.title_column,
            "format_points": format_points,
            "format_p": format_p,
            "format_share": format_share,
            "run_pens": RUN_PENS,
            "dashes": dashes,
            "marker_path": marker_path,
        },
        title=title,
        lede=lede,
        runs=_number_runs(trials),
        sections=list(_make_sections(evidence)),
    )


def _make_sections(evidence: Evidence) -> Iterable[Section]:
    """The sections in the order of the page, without those that have nothing to show."""
    trials, sweeps = evidence.clean, evidence.clean_sweeps
    yield Section("overview", _show_overview(trials, sweeps, evidence.compared))
    yield Section("results", {"tests": [_show_test(trial) for trial in trials]})
    matrices = [_show_differences(*pair) for pair in evidence.compared if pair[1]]
    if matrices := [matrix for matrix in matrices if matrix.trial in trials]:
        wide = max(len(trial.results) for trial in trials) > _NARROW
        yield Section("differences", {"matrices": matrices, "wide": wide})
    yield from _make_chart_sections(trials, sweeps)
    if kinds := list_kinds(evidence.calibrations):
        panels = [draw_reliability(name, kind) for name, kind in kinds]
        yield Section("trust", {"panels": panels, "kinds": kinds})
    if damaged := [trial for trial in evidence.trials if is_damaged(trial)]:
        yield Section("damage", _show_damage(evidence.trials, damaged))
    if galleries := _show_galleries(trials):
        yield Section("galleries", {"galleries": galleries})
    yield Section("method", _show_method(evidence))


def _make_chart_sections(trials: Sequence[Trial], sweeps: Sequence[Sweep]) -> Iterable[Section]:
    """One section per kind of chart."""
    leading = _choose_ends(trials)
    runs = [(trial, result) for trial in leading for result in trial.results]
    kinds = max((collect_scores(result) for _, result in runs), key=len)
    near_and_far = [phrase("charts.map_near"), phrase("charts.map_far")]
    means = [_show_means(s, table) for s in sweeps if (table := report_tables.tabulate_means(s))]
    charts: dict[str, Sequence[Panel | None]] = {
        "recall": [draw_recall(trial) for trial in trials],
        "fields": [draw_fields_of_view(sweep) for sweep in sweeps],
        "errors": [draw_errors(trial) for trial in trials],
        "scores": [draw_similarities(*run) for run in runs],
        "sure": [draw_answered(trial) for trial in trials],
        "maps": [panel for run in runs for panel in draw_maps(*run)],
    }
    for key, drawings in charts.items():
        panels = [panel for panel in drawings if panel is not None]
        content = {
            "panels": panels,
            "kinds": {"scores": [name for _, name, _ in kinds], "maps": near_and_far}.get(key, []),
            "means": means if key == "fields" else [],
        }
        if panels:
            yield Section(key, content, "charts")


def _choose_ends(trials: Sequence[Trial]) -> list[Trial]:
    """The widest and the narrowest view of each data set: what is large is shown for them alone."""
    first = {trial.title: trial for trial in reversed(trials)}
    last = {trial.title: trial for trial in trials}
    ends = {first[trial.title].key for trial in trials} | {t.key for t in last.values()}
    return [trial for trial in trials if trial.key in ends]


def _number_runs(trials: Iterable[Trial]) -> dict[int, str]:
    """Labels of the runs by their slots, in the order of these."""
    return dict(sorted((r.slot, r.label) for trial in trials for r in trial.results))


def _show_overview(
    trials: Sequence[Trial], sweeps: Sequence[Sweep], compared: Compared
) -> dict[str, Any]:
    """Verdicts, then R@1 of every run on every test."""
    verdicts = write_verdicts(trials, compared)
    tests = [
        OverviewRow(
            trial.key,
            trial.title,
            trial.conditions.words,
            report_tables.tabulate_ranks(trial),
            MAIN,
        )
        for trial in trials
    ]
    means = [
        OverviewRow(
            "fields",
            sweep.first.title,
            phrase(
                "overview.mean_of_fields",
                fields=FIELDS_WORDS,
                headings=sweep.first.conditions.headings,
            ),
            table,
            mean_name(MAIN),
        )
        for sweep in sweeps
        if (table := report_tables.tabulate_means(sweep))
    ]
    return {
        "verdicts": verdicts[:_MOST_VERDICTS],
        "more": max(0, len(verdicts) - _MOST_VERDICTS),
        "runs": _number_runs(trials),
        "rows": [*tests, *means],
    }


def _show_test(trial: Trial) -> CaptionedTables:
    """What was asked, and the tables of one test."""
    ranks, places, headings, others = (
        report_tables.tabulate_ranks(trial),
        report_tables.tabulate_places(trial),
        report_tables.tabulate_headings(trial),
        report_tables.tabulate_others(trial),
    )
    tables = [(ranks, _caption_ranks(trial, ranks))]
    if places:
        tables.append((places, phrase("results.places_caption")))
    if headings:
        tables.append((headings, phrase("results.headings_caption")))
    if others:
        tables.append((others, _caption_others(others)))
    first, chance = trial.results[0].first, trial.chance_percent
    question = phrase(
        "results.question",
        queries=trial.queries,
        references=trial.references,
        relation=first.protocol.relation,
        split=first.split,
        decoding=first.protocol.decoding,
    )
    if chance is not None:
        question += phrase("results.chance", chance=chance)
    return CaptionedTables(trial, tables, format_latex_table(trial, ranks), question)


def _caption_ranks(trial: Trial, table: report_tables.ComparisonTable) -> str:
    over = sorted({f.over for r in trial.results for f in r.figures.values()})
    caption = phrase(
        "results.caption",
        over=phrase("results.and").join(over),
        queries=trial.queries,
        k=trial.results[0].first.k_at_1_percent,
    )
    published = any(row.slot is None for row in table.same)
    return caption + (phrase("results.caption_published") if published else "")


def _caption_others(table: report_tables.ComparisonTable) -> str:
    rows = (*table.same, *table.apart)
    units = {name: cell.unit for row in rows for name, cell in row.cells.items()}
    figures = (
        phrase("results.other_figure", name=name, unit=unit or phrase("results.no_unit"))
        for name, unit in units.items()
    )
    return phrase("results.others_caption", figures=", ".join(figures))


def _show_means(sweep: Sweep, table: report_tables.ComparisonTable) -> CaptionedTables:
    """The means over fields of view of one data set and way of treating headings."""
    caption = phrase("results.means_caption", sweep=sweep.name, fields=FIELDS_WORDS)
    latex = format_latex_table(sweep.first, table, sweep.mean_name)
    return CaptionedTables(sweep.first, [(table, caption)], latex)


def _show_differences(trial: Trial, comparisons: Sequence[RunComparison]) -> DifferenceMatrix:
    """Row minus column in points of R@1, both ways."""
    both_ways = [c for pair in comparisons for c in (pair, pair.reverse())]
    units = sorted(
        {phrase("differences.over", n=c.n, unit=c.over.split(",")[0]) for c in comparisons}
    )
    caption = phrase(
        "differences.caption",
        over=phrase("differences.or").join(units),
        detectable=max(c.detectable for c in comparisons),
    )
    return DifferenceMatrix(
        trial,
        [r for r in trial.results if not r.conditions.off_protocol],
        {(c.slot, c.against_slot): c for c in both_ways},
        caption,
    )


def _show_damage(trials: Sequence[Trial], damaged: Sequence[Trial]) -> dict[str, Any]:
    return {
        "panels": draw_damage(trials),
        "runs": _number_runs(damaged),
        "rows": [(trial, report_tables.tabulate_ranks(trial)) for trial in damaged],
        "queries": max(trial.queries for trial in damaged),
    }


def _show_galleries(trials: Sequence[Trial]) -> list[tuple[Trial, RunResult, Any]]:
    """(test, run, groups of cards) of the widest and the narrowest view of each data set."""
    budget = Budget(PICTURE_BYTES)
    return [
        (trial, result, pick_cards(result, budget))
        for trial in _choose_ends(trials)
        for result in trial.results
    ]


def _show_method(evidence: Evidence) -> dict[str, Any]:
    """What words mean, where published figures come from, and how to do it again."""
    trials = evidence.trials
    tables = [
        table
        for trial in trials
        for table in (
            report_tables.tabulate_ranks(trial),
            report_tables.tabulate_places(trial),
            report_tables.tabulate_headings(trial),
        )
    ]
    tables += [report_tables.tabulate_means(sweep) for sweep in evidence.sweeps]
    shown = {name for table in tables if table for name in table.columns}
    figures = {m.word: m.definition for name, m in METRICS.items() if name in shown}
    words = {
        phrase(f"method.definitions.{name}.word"): phrase(f"method.definitions.{name}.meaning")
        for name in _EXPLAINED
    }
    published = [row for trial in trials if trial.benchmark for row in trial.benchmark.rows]
    return {
        "definitions": figures | words,
        "sources": list(dict.fromkeys((row.source, row.standing) for row in published)),
        "trials": trials,
        "downloads": {
            name: base64.b64encode(text.encode()).decode()
            for name, text in evidence.exports.items()
        },
    }
