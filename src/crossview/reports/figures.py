"""The charts of the report: recall, errors, fields of view, scores, maps of errors, damage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from crossview.arrays import F64, I64
from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.metrics import MAIN, RADII_M
from crossview.geo.components import label_touching_cells
from crossview.geo.points import LatLon, find_middle, project_to_local_m
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.reports.curves import (
    compute_answered_curve,
    compute_error_curve,
    compute_recall_curve,
    compute_separation,
)
from crossview.reports.published import PublishedRow
from crossview.reports.results import RunResult, Sweep, Trial, group_sweeps
from crossview.reports.svg import (
    DOTS,
    GRID,
    INK,
    KINDS,
    MUTED,
    Panel,
    dashes,
    draw_curve,
    draw_points,
    draw_svg,
    line_style,
    set_log_axis,
    set_percent_axis,
)
from crossview.texts import phrase

MOST_AREAS, MOST_QUERIES, MOST_REFERENCES = 4, 400, 600  # of the maps of a run
MOST_SEVERE = 5
_CELL_DEG = 0.02  # about 2 km; places in touching cells are one area
_LEAST_SHARE = 0.02
_SCORES = {  # columns of a record by what they compare; a text of each name is shown
    "matched": "true_score",
    "unmatched": "unmatched_score",
    "mirrored": "mirrored_score",
    "rotated": "rotated_score",
}


def draw_recall(trial: Trial) -> Panel:
    """R@k over k, up to 1 % of the gallery or 100, with the chance of a drawn answer."""
    k_1 = trial.results[0].first.k_at_1_percent
    most = min(trial.references, max(100, k_1))
    curves = [(result, compute_recall_curve(result, most)) for result in trial.results]

    def draw(axes: Axes) -> None:
        ks = np.geomspace(1, most, 40)
        if trial.chance_percent is not None:
            axes.plot(ks, trial.chance_percent * ks, gid=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            draw_curve(axes, result.slot, curve)
        set_log_axis(axes, [k for k in (1, 5, 10, 50, 100, 500, 1000) if k <= most])
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.recall_axis"))

    values = (phrase("charts.recall_value", run=r.label, percent=c.y[0]) for r, c in curves)
    label = phrase("charts.recall_label", trial=trial.name, values=", ".join(values))
    kind = "recall_note_chance" if trial.chance_percent else "recall_note"
    note = phrase(f"charts.{kind}", counts=_count(trial))
    return Panel(draw_svg(draw, label), trial.name, note)


def draw_errors(trial: Trial) -> Panel | None:
    """Share of queries within so many metres, or None where places are not known."""
    placed = [result for result in trial.results if len(result.errors_m)]
    if not placed:
        return None
    most = max(float(result.errors_m.max()) for result in placed)
    metres = np.geomspace(1.0, max(200.0, most), 60)
    curves = [(result, compute_error_curve(result, metres)) for result in placed]

    def draw(axes: Axes) -> None:
        for guide in RADII_M:
            axes.axvline(guide, gid=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            draw_curve(axes, result.slot, curve, marks=0)
        set_log_axis(axes, [1, *RADII_M, *(m for m in (1000, 10_000, 100_000) if m <= most)])
        axes.grid(visible=False, axis="x")
        axes.set_xlim(1.0, metres[-1])
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.errors_axis"))

    values = (
        phrase("charts.errors_value", run=r.label, metres=float(np.median(r.errors_m)))
        for r in placed
    )
    label = phrase("charts.errors_label", trial=trial.name, values=", ".join(values))
    return Panel(draw_svg(draw, label), trial.name, _count(trial))


def draw_answered(trial: Trial) -> Panel:
    """How many answers are right when only the most confident share is given."""

    def draw(axes: Axes) -> None:
        for result in trial.results:
            answered, right = compute_answered_curve(result)
            axes.plot(answered, right, **line_style(result.slot))
        axes.set_xlim(0, 100)
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.answered_axis"))

    label = phrase("charts.answered_label", trial=trial.name)
    return Panel(draw_svg(draw, label), trial.name, _count(trial))


def _count(trial: Trial) -> str:
    return phrase("charts.counts", queries=trial.queries, references=trial.references)


def draw_fields_of_view(trials: Iterable[Trial]) -> list[Panel]:
    """A chart for every data set that was asked under at least two fields of view."""
    return [_draw_sweep(sweep) for sweep in group_sweeps(trials)]


def _draw_sweep(sweep: Sweep) -> Panel:
    group, angles = sweep.trials, sweep.fovs_deg
    ours = _collect_measured(group)
    theirs = _collect_published(group, angles)

    def draw(axes: Axes) -> None:
        for name, printed in theirs.items():
            xs = [angles.index(a) for a in sorted(printed, reverse=True)]
            ys = [printed[a] for a in sorted(printed, reverse=True)]
            axes.plot(xs, ys, gid=MUTED, linewidth=1, marker="o", markersize=3)
            axes.annotate(name, (xs[-1], ys[-1]), (4, 0), textcoords="offset points", gid=MUTED,
                          fontsize=9, va="center")  # fmt: skip
        for slot, measured in ours.items():
            draw_points(axes, slot, [(angles.index(fov), r) for fov, r in measured], MAIN)
        axes.set_xticks(range(len(angles)), [f"{a:g}°" for a in angles])
        axes.set_xlim(-0.3, len(angles) - 0.4 + (0.5 if theirs else 0))
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.fields_axis"))

    conditions = group[0].conditions
    title = phrase("charts.fields_title", data=group[0].title, headings=conditions.headings)
    note = phrase("charts.fields_note", queries=max(t.queries for t in group))
    if any(result.conditions.off_protocol for trial in group for result in trial.results):
        note += phrase("charts.fields_hollow")
    if theirs:
        note += phrase("charts.fields_published")
    return Panel(draw_svg(draw, phrase("charts.fields_label", title=title)), title, note)


def _collect_measured(group: Sequence[Trial]) -> dict[int, list[tuple[float, RunResult]]]:
    """The results of every run, by its slot, each with its field of view in degrees."""
    by_slot: dict[int, list[tuple[float, RunResult]]] = {}
    for trial in group:
        for result in trial.results:
            if MAIN in result.figures:
                point = (trial.conditions.fov_deg or 0.0, result)
                by_slot.setdefault(result.slot, []).append(point)
    return by_slot


def _collect_published(
    group: Sequence[Trial], angles: Sequence[float]
) -> dict[str, dict[float, float]]:
    """R@1 by name and angle of comparable published rows that have at least two of the angles."""
    first = group[0]
    by_name: dict[str, dict[float, float]] = {}
    for row in first.benchmark.rows if first.benchmark else ():
        angle = row.conditions.fov_deg
        if angle is None or angle not in angles or MAIN not in row.values:
            continue
        if _is_comparable(row, first):
            name = f"{row.method} ({row.variant})" if row.variant else row.method
            by_name.setdefault(name, {})[angle] = row.values[MAIN]
    return {name: points for name, points in by_name.items() if len(points) > 1}


def _is_comparable(row: PublishedRow, trial: Trial) -> bool:
    theirs, ours = row.conditions, trial.conditions
    return (theirs.headings, theirs.trained_on, theirs.models) == (
        ours.headings, ours.trained_on, ours.models,
    )  # fmt: skip


def collect_scores(result: RunResult) -> list[tuple[int, str, F64]]:
    """(slot, name, scores) of what was measured: matched, unmatched, and the hard samples."""
    kinds = [
        (slot, phrase(f"charts.{name}"), _concatenate_scores(result, column))
        for slot, (name, column) in enumerate(_SCORES.items())
    ]
    return [kind for kind in kinds if len(kind[2]) > 1]


def draw_similarities(trial: Trial, result: RunResult) -> Panel | None:
    """Densities of the scores of true and wrong references, and of hard samples if measured."""
    kinds = collect_scores(result)
    if len(kinds) < 2:
        return None
    every = np.concatenate([values for _, _, values in kinds])
    low, high = np.percentile(every, (0.1, 99.9))
    edges = np.linspace(low, high, 46)

    def draw(axes: Axes) -> None:
        for slot, _, values in kinds:
            height, _ = np.histogram(values, edges, density=True)
            outline: dict[str, Any] = {"linewidth": 1.8, "linestyle": (0, dashes(slot))}
            axes.stairs(height, edges, fill=True, alpha=0.12, gid=KINDS[slot])
            axes.stairs(height, edges, **outline, gid=KINDS[slot])
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(phrase("charts.scores_axis"))

    medians = (
        phrase("charts.scores_median", kind=name, median=float(np.median(values)))
        for _, name, values in kinds
    )
    note = phrase(
        "charts.scores_note",
        n=len(kinds[0][2]),
        medians="; ".join(medians),
        separation=compute_separation(kinds[0][2], kinds[1][2]),
    )
    label = phrase("charts.scores_label", run=result.label, trial=trial.name, note=note)
    title = phrase("charts.scores_title", run=result.label, trial=trial.name)
    return Panel(draw_svg(draw, label, (380, 190)), title, note)


def _concatenate_scores(result: RunResult, column: str) -> F64:
    """The finite scores of all records that have the column."""
    columns = [getattr(e.queries, column) for e in result.evaluations]
    scores = [c.astype(np.float64) for c in columns if c is not None]
    values: F64 = np.concatenate(scores) if scores else np.empty(0)
    return values[np.isfinite(values)]


@dataclass(frozen=True, eq=False)
class _Area:
    """Queries of one town or district, in metres east and north of their middle."""

    truth: F64  # [N, 2]
    answers: F64  # [N, 2]
    error_m: F64  # [N]
    gallery: F64  # [R, 2]
    total: int  # before thinning


def draw_maps(trial: Trial, result: RunResult) -> list[Panel]:
    """One map per area, the areas with most queries first; none where places are not known."""
    areas = list(_find_areas(result.first))
    title = phrase("charts.map_title", run=result.label, trial=trial.name)
    if len(areas) == 1:
        return [_draw_map(title, areas[0])]
    return [
        _draw_map(phrase("charts.map_area", title=title, number=number), area)
        for number, area in enumerate(areas, 1)
    ]


def _draw_map(title: str, area: _Area) -> Panel:
    near = area.error_m <= RIGHT_WITHIN_M

    def draw(axes: Axes) -> None:
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.plot(*area.gallery.T, markersize=1, marker="s", linestyle="none", gid=GRID)
        gap = np.full_like(area.truth, np.nan)  # parts the lines of one path
        misses = np.stack([area.truth, area.answers, gap], axis=1)[~near].reshape(-1, 2)
        axes.plot(*misses.T, gid=KINDS[1], linewidth=0.7, alpha=0.45)
        axes.plot(*area.truth[near].T, "o", gid=KINDS[0], markersize=4, markeredgewidth=0)
        axes.plot(*area.truth[~near].T, "x", gid=KINDS[1], markersize=4.5, markeredgewidth=1.4)
        _set_limits(axes, np.concatenate([area.truth, area.gallery]))

    note = phrase(
        "charts.map_note_thinned" if area.total > len(near) else "charts.map_note",
        percent=100.0 * float(np.mean(near)),
        radius=RIGHT_WITHIN_M,
        n=area.total,
        drawn=len(near),
    )
    label = phrase("charts.map_label", title=title, note=note)
    return Panel(draw_svg(draw, label, (380, 320)), title, note)


def _set_limits(axes: Axes, places: F64) -> None:
    """Limits around the area, and a scale bar of a round length in its lower left corner."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float(max(high - low)) or 1.0
    pad = 0.04 * side
    axes.set_xlim(low[0] - pad, high[0] + pad)
    axes.set_ylim(low[1] - 3 * pad, high[1] + pad)
    length = _choose_length(0.25 * side)
    y = low[1] - 2 * pad
    axes.plot([low[0], low[0] + length], [y, y], gid=INK, linewidth=2, solid_capstyle="butt")
    text = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    axes.annotate(text, (low[0] + length, y), (5, 0), textcoords="offset points", va="center",
                  fontsize=10, gid=INK)  # fmt: skip


def _choose_length(metres: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres)


def _find_areas(evaluation: Evaluation) -> Iterator[_Area]:
    queries = evaluation.queries
    placed = np.isfinite(queries.truth_latlon).all(1) & np.isfinite(queries.found_latlon).all(1)
    if not placed.any():
        return
    latlon, answers = queries.truth_latlon[placed], queries.found_latlon[placed]
    errors = queries.error_m[placed]
    groups = _label_areas(latlon)
    numbers, counts = np.unique(groups, return_counts=True)
    for number in numbers[np.argsort(-counts)][:MOST_AREAS]:
        rows = np.flatnonzero(groups == number)
        if len(rows) >= _LEAST_SHARE * len(latlon):
            yield _cut_area(latlon, answers, errors, rows, evaluation.references.latlon)


def _cut_area(latlon: F64, answers: F64, errors: F64, rows: np.ndarray, gallery: F64) -> _Area:
    middle = find_middle(*latlon[rows].T)
    thinned = _thin(rows, MOST_QUERIES)
    truth, references = _project(latlon[rows], middle), _project(gallery, middle)
    within = (references >= truth.min(axis=0)) & (references <= truth.max(axis=0))
    inside = np.flatnonzero(within.all(axis=1))
    return _Area(
        _project(latlon[thinned], middle),
        _project(answers[thinned], middle),
        errors[thinned],
        references[_thin(inside, MOST_REFERENCES)],
        len(rows),
    )


def _thin(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the rows, the same ones every time."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _project(latlon: F64, middle: LatLon) -> F64:
    """Metres [N, 2] east and north of the middle."""
    return np.stack(project_to_local_m(middle, *latlon.T), axis=1)


def _label_areas(latlon: F64) -> I64:
    """Numbers [N] of the areas: places whose cells touch, directly or through others, are one."""
    columns = round(360.0 / _CELL_DEG)
    cells = np.floor(latlon / _CELL_DEG).astype(np.int64)
    cells[:, 1] %= columns
    unique, inverse = np.unique(cells, axis=0, return_inverse=True)
    areas: I64 = label_touching_cells(unique, columns)[inverse.ravel()]
    return areas


def is_damaged(trial: Trial) -> bool:
    """Whether its ground pictures were damaged on purpose."""
    return bool(trial.conditions.corruption)


def draw_damage(trials: Sequence[Trial]) -> list[Panel]:
    """A chart per data set, view and kind of damage, from the clean pictures to the worst."""
    groups: dict[tuple[object, ...], dict[int, Trial]] = {}
    for trial in filter(is_damaged, trials):
        name, severity = split_damage(trial)
        groups.setdefault((*_key_of_clean(trial), name), {})[severity] = trial
    clean = {_key_of_clean(trial): trial for trial in trials if not is_damaged(trial)}
    return [
        _draw_severities(
            str(name), ({0: clean[key]} if (key := tuple(rest)) in clean else {}) | group
        )
        for (*rest, name), group in groups.items()
    ]


def split_damage(trial: Trial) -> tuple[str, int]:
    """What was done to the pictures and how much, from 1 to 5; a bare name counts as 1."""
    name, _, severity = trial.conditions.corruption.rpartition(" ")
    return (name, int(severity)) if name and severity.isdigit() else (name or severity, 1)


def _key_of_clean(trial: Trial) -> tuple[object, ...]:
    c = trial.conditions
    return (trial.title, c.headings, c.fov_deg, c.rule, c.trained_on)


def _draw_severities(damage: str, by_severity: dict[int, Trial]) -> Panel:
    runs: dict[int, list[tuple[float, RunResult]]] = {}
    for severity, trial in sorted(by_severity.items()):
        for result in trial.results:
            if MAIN in result.figures:
                runs.setdefault(result.slot, []).append((severity, result))

    def draw(axes: Axes) -> None:
        for slot, points in runs.items():
            draw_points(axes, slot, points, MAIN)
        ticks = [phrase("charts.damage_none"), *map(str, range(1, MOST_SEVERE + 1))]
        axes.set_xticks(range(MOST_SEVERE + 1), ticks)
        axes.set_xlim(-0.3, MOST_SEVERE + 0.3)
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.damage_axis"))

    trial = next(iter(by_severity.values()))
    words = trial.conditions.words
    note = phrase("charts.damage_note", queries=trial.queries, conditions=words)
    label = phrase("charts.damage_label", damage=damage, note=note)
    title = phrase("charts.damage_title", data=trial.title, damage=damage)
    return Panel(draw_svg(draw, label), title, note)
