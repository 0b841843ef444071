"""R@1 over the field of view: one chart per test picture set and way of treating headings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from crossview.evaluation.metrics import MAIN
from crossview.reports.pens import percent, points
from crossview.reports.published import Published
from crossview.reports.results import Result, Sweep, Trial, sweeps
from crossview.reports.svg import MUTED, Panel, drawn


def fov_panels(trials: Iterable[Trial]) -> list[Panel]:
    """A chart for every data set that was asked under at least two fields of view."""
    return [_panel(sweep) for sweep in sweeps(trials)]


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
            points(axes, slot, [(angles.index(fov), r) for fov, r in measured], MAIN)
        axes.set_xticks(range(len(angles)), [f"{a:g}°" for a in angles])
        axes.set_xlim(-0.3, len(angles) - 0.4 + (0.5 if theirs else 0))
        percent(axes)
        axes.set_xlabel("horizontal field of view")

    title = f"{group[0].title}, {group[0].conditions.headings} headings"
    note = f"R@1 of {max(t.queries for t in group):,} queries."
    if any(result.conditions.off_protocol for _, result in _results(group)):
        note += " Hollow: the run was not trained for it."
    if theirs:
        note += " Grey: published, one model for all angles, same training data."
    return Panel(drawn(draw, f"R@1 over the field of view, {title}"), title, note)


def _results(group: Sequence[Trial]) -> list[tuple[float, Result]]:
    return [(t.conditions.fov_deg or 0.0, result) for t in group for result in t.results]


def _measured(group: Sequence[Trial]) -> dict[int, list[tuple[float, Result]]]:
    found: dict[int, list[tuple[float, Result]]] = {}
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


def _comparable(row: Published, trial: Trial) -> bool:
    theirs, ours = row.conditions, trial.conditions
    return (theirs.headings, theirs.trained_on, theirs.models) == (
        ours.headings, ours.trained_on, ours.models,
    )  # fmt: skip
