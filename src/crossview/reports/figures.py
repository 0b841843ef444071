"""The charts of one test: recall, errors in metres, and answering only when sure.

R@1 over the field of view: one chart per test picture set and way of treating headings.

Charts of one run's scores: how far right is from wrong, how true its confidence is.

A map of errors: where the queries were taken, and where the run put those that it missed.
"""

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
    INK,
    KINDS,
    LINE,
    MUTED,
    Panel,
    draw_curve,
    draw_points,
    draw_svg,
    pen,
    set_log_axis,
    set_percent_axis,
)


def draw_recall(trial: Trial) -> Panel:
    """R@k over k, up to 1 % of the gallery or 100, with the chance of a drawn answer."""
    k_1 = trial.results[0].first.k_at_1_percent
    most = min(trial.references, max(100, k_1))
    curves = [(result, compute_recall_curve(result, most)) for result in trial.results]

    def draw(axes: Axes) -> None:
        ks = np.geomspace(1, most, 40)
        if trial.chance_percent is not None:
            axes.plot(ks, trial.chance_percent * ks, color=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            draw_curve(axes, result.slot, curve)
        set_log_axis(axes, [k for k in (1, 5, 10, 50, 100, 500, 1000) if k <= most])
        set_percent_axis(axes)
        axes.set_xlabel("k")

    first = ", ".join(f"{r.label} {c.y[0]:.1f} %" for r, c in curves)
    note = f"{_counts(trial)}." + (" Dotted: chance." if trial.chance_percent else "")
    label = f"Recall at k for {trial.name}. At k = 1: {first}."
    return Panel(draw_svg(draw, label), trial.name, note)


def draw_errors(trial: Trial) -> Panel | None:
    """Share of queries within so many metres, or None where places are not known."""
    known = [result for result in trial.results if len(result.errors_m)]
    if not known:
        return None
    most = max(float(result.errors_m.max()) for result in known)
    metres = np.geomspace(1.0, max(200.0, most), 60)
    curves = [(result, compute_error_curve(result, metres)) for result in known]

    def draw(axes: Axes) -> None:
        for guide in RADII_M:
            axes.axvline(guide, color=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            draw_curve(axes, result.slot, curve, marks=0)
        set_log_axis(axes, [1, *RADII_M, *(m for m in (1000, 10_000, 100_000) if m <= most)])
        axes.grid(visible=False, axis="x")
        axes.set_xlim(1.0, metres[-1])
        set_percent_axis(axes)
        axes.set_xlabel("metres from the truth")

    told = ", ".join(f"{r.label} median {np.median(r.errors_m):.0f} m" for r in known)
    return Panel(draw_svg(draw, f"Errors for {trial.name}: {told}."), trial.name, _counts(trial))


def draw_answered(trial: Trial) -> Panel:
    """How many answers are right when only the most confident share is given."""

    def draw(axes: Axes) -> None:
        for result in trial.results:
            answered, right = compute_answered_curve(result)
            axes.plot(answered, right, **pen(result.slot))
        axes.set_xlim(0, 100)
        set_percent_axis(axes)
        axes.set_xlabel("percent of the queries answered, highest score first")

    label = f"Share of right first answers over the share answered, for {trial.name}."
    return Panel(draw_svg(draw, label), trial.name, _counts(trial))


def _counts(trial: Trial) -> str:
    return f"{trial.queries:,} queries, {trial.references:,} references"


def draw_fields_of_view(trials: Iterable[Trial]) -> list[Panel]:
    """A chart for every data set that was asked under at least two fields of view."""
    return [_panel(sweep) for sweep in group_sweeps(trials)]


def _panel(sweep: Sweep) -> Panel:
    group, angles = sweep.trials, sweep.fovs_deg
    ours = _measured(group)
    theirs = _published(group, angles)

    def draw(axes: Axes) -> None:
        for name, printed in theirs.items():
            xs = [angles.index(a) for a in sorted(printed, reverse=True)]
            ys = [printed[a] for a in sorted(printed, reverse=True)]
            axes.plot(xs, ys, color=MUTED, linewidth=1, marker="o", markersize=3)
            axes.annotate(name, (xs[-1], ys[-1]), (4, 0), textcoords="offset points", color=MUTED,
                          fontsize=9, va="center")  # fmt: skip
        for slot, measured in ours.items():
            draw_points(axes, slot, [(angles.index(fov), r) for fov, r in measured], MAIN)
        axes.set_xticks(range(len(angles)), [f"{a:g}°" for a in angles])
        axes.set_xlim(-0.3, len(angles) - 0.4 + (0.5 if theirs else 0))
        set_percent_axis(axes)
        axes.set_xlabel("horizontal field of view")

    title = f"{group[0].title}, {group[0].conditions.headings} headings"
    note = f"R@1 of {max(t.queries for t in group):,} queries."
    if any(result.conditions.off_protocol for _, result in _results(group)):
        note += " Hollow: the run was not trained for it."
    if theirs:
        note += " Grey: published, one model for all angles, same training data."
    return Panel(draw_svg(draw, f"R@1 over the field of view, {title}"), title, note)


def _results(group: Sequence[Trial]) -> list[tuple[float, RunResult]]:
    return [(t.conditions.fov_deg or 0.0, result) for t in group for result in t.results]


def _measured(group: Sequence[Trial]) -> dict[int, list[tuple[float, RunResult]]]:
    found: dict[int, list[tuple[float, RunResult]]] = {}
    for fov_deg, result in _results(group):
        if MAIN in result.figures:
            found.setdefault(result.slot, []).append((fov_deg, result))
    return found


def _published(group: Sequence[Trial], angles: Sequence[float]) -> dict[str, dict[float, float]]:
    """R@1 by name and angle of comparable published rows that have at least two of the angles."""
    found: dict[str, dict[float, float]] = {}
    for row in group[0].benchmark.rows if group[0].benchmark else ():
        angle = row.conditions.fov_deg
        if (
            angle is not None
            and angle in angles
            and MAIN in row.values
            and _comparable(row, group[0])
        ):
            name = f"{row.method} ({row.variant})" if row.variant else row.method
            found.setdefault(name, {})[angle] = row.values[MAIN]
    return {name: points for name, points in found.items() if len(points) > 1}


def _comparable(row: PublishedRow, trial: Trial) -> bool:
    theirs, ours = row.conditions, trial.conditions
    return (theirs.headings, theirs.trained_on, theirs.models) == (
        ours.headings, ours.trained_on, ours.models,
    )  # fmt: skip


_NAMES = ("matched", "unmatched", "mirrored", "turned by 90°")
_FIELDS = ("true_score", "unmatched_score", "mirrored_score", "rotated_score")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


def collect_scores(result: RunResult) -> list[tuple[int, str, F64]]:
    """(slot, name, scores) of what was measured: matched, unmatched, and the hard samples."""
    found = [(slot, _NAMES[slot], _scores(result, field)) for slot, field in enumerate(_FIELDS)]
    return [kind for kind in found if len(kind[2]) > 1]


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
            pen = {"color": KINDS[slot], "linestyle": _DASHES[slot]}
            axes.stairs(height, edges, fill=True, color=KINDS[slot], alpha=0.12)
            axes.stairs(height, edges, linewidth=1.8, **pen)
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("similarity")

    apart = compute_separation(kinds[0][2], kinds[1][2])
    told = "; ".join(f"{name} {np.median(values):.2f}" for _, name, values in kinds)
    note = (
        f"n = {len(kinds[0][2]):,}. Medians: {told}. The true tile scores higher than a wrong one "
        f"drawn at random in {apart:.1f} % of draws."
    )
    label = f"Similarity distributions of {result.label} on {trial.name}. {note}"
    return Panel(draw_svg(draw, label, (380, 190)), f"{result.label} · {trial.name}", note)


def _scores(result: RunResult, field: str) -> F64:
    values = np.concatenate(list(_columns(result, field))).astype(np.float64)
    return values[np.isfinite(values)]


def _columns(result: RunResult, field: str) -> Iterator[np.ndarray]:
    """The column of every record; where a record does not have it, NaN."""
    for evaluation in result.evaluations:
        column = getattr(evaluation.queries, field)
        yield np.full(len(evaluation.queries.ids), np.nan) if column is None else column


MOST_AREAS, MOST_QUERIES, MOST_REFERENCES = 4, 400, 600
_CELL_DEG = 0.02  # about 2 km; places in touching cells are one area
_LEAST_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class _Area:
    """Queries of one town or district, in metres east and north of their middle."""

    truth: F64  # [N, 2]
    found: F64  # [N, 2]
    error_m: F64  # [N]
    gallery: F64  # [R, 2]
    total: int  # before thinning


def draw_maps(trial: Trial, result: RunResult) -> list[Panel]:
    """One map per area, the areas with most queries first; none where places are not known."""
    areas = list(_areas(result.first))
    return [_errormap_panel(trial, result, area, n, len(areas)) for n, area in enumerate(areas, 1)]


def _errormap_panel(trial: Trial, result: RunResult, area: _Area, number: int, areas: int) -> Panel:
    near = area.error_m <= RIGHT_WITHIN_M

    def draw(axes: Axes) -> None:
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.plot(*area.gallery.T, color=LINE, markersize=1, marker="s", linestyle="none")
        gap = np.full_like(area.truth, np.nan)  # parts the lines of one path
        misses = np.stack([area.truth, area.found, gap], axis=1)[~near].reshape(-1, 2)
        axes.plot(*misses.T, color=KINDS[1], linewidth=0.7, alpha=0.45)
        axes.plot(*area.truth[near].T, "o", color=KINDS[0], markersize=4, markeredgewidth=0)
        axes.plot(*area.truth[~near].T, "x", color=KINDS[1], markersize=4.5, markeredgewidth=1.4)
        _frame(axes, np.concatenate([area.truth, area.gallery]))

    share = 100.0 * float(np.mean(near))
    thinned = f", {len(near)} of {area.total:,} drawn" if area.total > len(near) else ""
    where = f" · area {number}" if areas > 1 else ""
    note = f"{share:.0f} % within {RIGHT_WITHIN_M:g} m; n = {area.total:,}{thinned}."
    title = f"{result.label} · {trial.name}{where}"
    return Panel(draw_svg(draw, f"Map of errors, {title}. {note}", (380, 320)), title, note)


def _frame(axes: Axes, places: F64) -> None:
    """Limits around the area, and a scale bar of a round length in its lower left corner."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float(max(high - low)) or 1.0
    pad = 0.04 * side
    axes.set_xlim(low[0] - pad, high[0] + pad)
    axes.set_ylim(low[1] - 3 * pad, high[1] + pad)
    length = _round_length(0.25 * side)
    y = low[1] - 2 * pad
    axes.plot([low[0], low[0] + length], [y, y], color=INK, linewidth=2, solid_capstyle="butt")
    text = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    axes.annotate(text, (low[0] + length, y), (5, 0), textcoords="offset points", va="center",
                  fontsize=10)  # fmt: skip


def _round_length(metres: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres)


def _areas(evaluation: Evaluation) -> Iterator[_Area]:
    queries = evaluation.queries
    known = np.isfinite(queries.truth_latlon).all(1) & np.isfinite(queries.found_latlon).all(1)
    if not known.any():
        return
    latlon, found = queries.truth_latlon[known], queries.found_latlon[known]
    errors = queries.error_m[known]
    groups = _touching(latlon)
    numbers, counts = np.unique(groups, return_counts=True)
    for number in numbers[np.argsort(-counts)][:MOST_AREAS]:
        rows = np.flatnonzero(groups == number)
        if len(rows) >= _LEAST_SHARE * len(latlon):
            yield _area(latlon, found, errors, rows, evaluation.references.latlon)


def _area(latlon: F64, found: F64, errors: F64, rows: np.ndarray, gallery: F64) -> _Area:
    middle = find_middle(*latlon[rows].T)
    drawn_rows = _thinned(rows, MOST_QUERIES)
    truth, references = _metres(latlon[rows], middle), _metres(gallery, middle)
    within = (references >= truth.min(axis=0)) & (references <= truth.max(axis=0))
    inside = np.flatnonzero(within.all(axis=1))
    return _Area(
        _metres(latlon[drawn_rows], middle),
        _metres(found[drawn_rows], middle),
        errors[drawn_rows],
        references[_thinned(inside, MOST_REFERENCES)],
        len(rows),
    )


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the rows, the same ones every time."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _metres(latlon: F64, middle: LatLon) -> F64:
    """Metres [N, 2] east and north of the middle."""
    return np.stack(project_to_local_m(middle, *latlon.T), axis=1)


def _touching(latlon: F64) -> I64:
    """Numbers [N] of the areas: places whose cells touch, directly or through others, are one."""
    columns = round(360.0 / _CELL_DEG)
    cells = np.floor(latlon / _CELL_DEG).astype(np.int64)
    cells[:, 1] %= columns
    unique, inverse = np.unique(cells, axis=0, return_inverse=True)
    areas: I64 = label_touching_cells(unique, columns)[inverse.ravel()]
    return areas
