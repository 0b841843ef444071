"""The charts of one test: recall, errors in metres, and answering only when sure."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from crossview.evaluation.metrics import RADII_M
from crossview.reports.curves import answered_curve, error_curve, recall_curve
from crossview.reports.pens import DOTS, line, logarithmic, pen, percent
from crossview.reports.results import Trial
from crossview.reports.svg import MUTED, Panel, drawn


def recall_panel(trial: Trial) -> Panel:
    """R@k over k, up to 1 % of the gallery or 100, with the chance of a drawn answer."""
    k_1 = trial.results[0].first.k_at_1_percent
    most = min(trial.references, max(100, k_1))
    curves = [(result, recall_curve(result, most)) for result in trial.results]

    def draw(axes: Axes) -> None:
        ks = np.geomspace(1, most, 40)
        if trial.chance_percent is not None:
            axes.plot(ks, trial.chance_percent * ks, color=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            line(axes, result.slot, curve)
        logarithmic(axes, [k for k in (1, 5, 10, 50, 100, 500, 1000) if k <= most])
        percent(axes)
        axes.set_xlabel("k")

    first = ", ".join(f"{r.label} {c.y[0]:.1f} %" for r, c in curves)
    note = f"{_counts(trial)}." + (" Dotted: chance." if trial.chance_percent else "")
    label = f"Recall at k for {trial.name}. At k = 1: {first}."
    return Panel(drawn(draw, label), trial.name, note)


def error_panel(trial: Trial) -> Panel | None:
    """Share of queries within so many metres, or None where places are not known."""
    known = [result for result in trial.results if len(result.errors_m)]
    if not known:
        return None
    most = max(float(result.errors_m.max()) for result in known)
    metres = np.geomspace(1.0, max(200.0, most), 60)
    curves = [(result, error_curve(result, metres)) for result in known]

    def draw(axes: Axes) -> None:
        for guide in RADII_M:
            axes.axvline(guide, color=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            line(axes, result.slot, curve, marks=0)
        logarithmic(axes, [1, *RADII_M, *(m for m in (1000, 10_000, 100_000) if m <= most)])
        axes.grid(visible=False, axis="x")
        axes.set_xlim(1.0, metres[-1])
        percent(axes)
        axes.set_xlabel("metres from the truth")

    told = ", ".join(f"{r.label} median {np.median(r.errors_m):.0f} m" for r in known)
    return Panel(drawn(draw, f"Errors for {trial.name}: {told}."), trial.name, _counts(trial))


def answered_panel(trial: Trial) -> Panel:
    """How many answers are right when only the most confident share is given."""

    def draw(axes: Axes) -> None:
        for result in trial.results:
            answered, right = answered_curve(result)
            axes.plot(answered, right, **pen(result.slot))
        axes.set_xlim(0, 100)
        percent(axes)
        axes.set_xlabel("percent of the queries answered, highest score first")

    label = f"Share of right first answers over the share answered, for {trial.name}."
    return Panel(drawn(draw, label), trial.name, _counts(trial))


def _counts(trial: Trial) -> str:
    return f"{trial.queries:,} queries, {trial.references:,} references"
