"""How runs and axes are drawn in every chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from crossview.reports.curves import Curve
from crossview.reports.results import Result
from crossview.reports.svg import DASHES, LINE, MARKERS, RUNS, SURFACE

DOTS = (0, (1.5, 3))  # of guides and of chance


def line(axes: Axes, slot: int, curve: Curve, marks: int = 6) -> None:
    """A run's curve with its band; ``marks`` markers along it."""
    every = max(1, len(curve.x) // marks) if marks else len(curve.x)
    shown: dict[str, Any] = {"marker": MARKERS[slot % len(MARKERS)], "markevery": every}
    band: dict[str, Any] = {
        "color": colour(slot),
        "alpha": 0.16,
        "linewidth": 0,
        "gid": run_id(slot),
    }
    axes.fill_between(curve.x, curve.low, curve.high, **band)
    axes.plot(curve.x, curve.y, **pen(slot), **(shown if marks else {}), markersize=5)


def points(axes: Axes, slot: int, given: Sequence[tuple[float, Result]], metric: str) -> None:
    """A run's figures with their intervals over x; hollow where it was not trained for that.

    Runs are moved apart a little, so that their intervals do not hide each other.
    """
    ordered = sorted(given, key=lambda point: point[0])
    xs = [x + 0.04 * (slot % 5 - 2) for x, _ in ordered]
    figures = [result.figures[metric] for _, result in ordered]
    own: dict[str, Any] = {"color": colour(slot), "gid": run_id(slot)}
    axes.plot(xs, [f.value for f in figures], **pen(slot))
    marker = MARKERS[slot % len(MARKERS)]
    for x, f, (_, result) in zip(xs, figures, ordered, strict=True):
        axes.plot([x, x], [f.low, f.high], linewidth=1.4, **own)
        face = SURFACE if result.conditions.off_protocol else colour(slot)
        axes.plot(x, f.value, marker=marker, markerfacecolor=face, markersize=6.5, **own)


def colour(slot: int) -> str:
    """The stand-in colour of a run."""
    return RUNS[slot % len(RUNS)]


def run_id(slot: int) -> str:
    """What marks a run's share of a chart; the page lets one run stand out by it."""
    return f"run-{slot}"


def percent(axes: Axes) -> None:
    """The vertical axis from 0 to 100 %."""
    axes.set_ylim(0, 101.5)
    axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0f} %"))


def logarithmic(axes: Axes, ticks: list[int]) -> None:
    """A logarithmic horizontal axis with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(axis="x", color=LINE, linewidth=0.5)


def pen(slot: int) -> dict[str, Any]:
    """Colour, dashes and mark of a run's line."""
    return {"color": colour(slot), "linestyle": DASHES[slot % len(DASHES)], "gid": run_id(slot)}
