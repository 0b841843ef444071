"""The figure of a calibration: whether probabilities come true, and what refusing costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossview.errors import InvalidValue
from crossview.files import writing

FORMATS = ("png", "svg", "pdf")
_COLOURS = ("#0b6e8a", "#c4501b", "#5b3fa0", "#4d7a1f", "#a02c5a", "#6b6b6b")
_DIAGONAL = "#888888"

Measured = Mapping[str, Any]  # see calibration.held_out.figures


def draw_calibration(columns: Mapping[str, Mapping[str, Measured]], path: Path) -> None:
    """Write a figure with a column per title, whose curves are the figures of each kind of picture.

    Above: stated probabilities against the share that came true. Below: which share of the pictures
    from elsewhere each share of wrongly refused ones still lets through. The ending of ``path``
    chooses PNG, SVG or PDF; :class:`InvalidValue` for any other.
    """
    ending = format_of(path)
    figure = Figure(figsize=(4.5 * len(columns), 8.4), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for column, (title, kinds) in enumerate(columns.items()):
        _reliability(axes[0][column], title, kinds)
        _refusals(axes[1][column], kinds)
    with writing(path) as temporary:
        figure.savefig(temporary, format=ending, dpi=110)


def format_of(path: Path) -> str:
    """The format that the ending of a path names; :class:`InvalidValue` if none is."""
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise InvalidValue(f"{path}: a figure ends in .png, .svg or .pdf.")
    return ending


def _reliability(axes: Axes, title: str, kinds: Mapping[str, Measured]) -> None:
    for colour, (kind, told) in zip(_COLOURS, kinds.items(), strict=False):
        stated, came_true, _ = zip(*told["reliability"], strict=True)
        label = f"{kind}: n {told['n']}, error {told['calibration_error']:.3f}"
        axes.plot(stated, came_true, "o-", color=colour, markersize=4, label=label)
    axes.plot([0, 1], [0, 1], color=_DIAGONAL, linewidth=0.8)
    _frame(axes, "stated probability of lying within 25 m", "share that did")
    axes.set_title(title)


def _refusals(axes: Axes, kinds: Mapping[str, Measured]) -> None:
    for colour, (kind, told) in zip(_COLOURS, kinds.items(), strict=False):
        if "refusals" not in told:
            continue
        refused, accepted = zip(*told["refusals"], strict=True)
        axes.plot(refused, accepted, color=colour, label=f"{kind}: area {told['told_apart']:.2f}")
    axes.plot([0, 1], [1, 0], color=_DIAGONAL, linewidth=0.8)
    _frame(axes, "pictures of the region that are refused",
           "pictures from elsewhere that are accepted")  # fmt: skip


def _frame(axes: Axes, below: str, beside: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=below, ylabel=beside)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)
