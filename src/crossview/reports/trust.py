"""What was measured of calibrated indexes: reliability, areas of stated coverage, refusing.

The figure of a calibration: whether probabilities come true, and what refusing costs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossview.errors import BadData, BadIndex, InvalidValue
from crossview.files import writing
from crossview.index.store import read_manifest
from crossview.localization.calibration_record import Calibrated, Calibration
from crossview.reports.markup import Child, Html, tag
from crossview.reports.svg import DOTS, KINDS, MUTED, Panel, draw_svg, set_percent_axis


@dataclass(frozen=True)
class NamedCalibration:
    """A calibration and the name of where it was read."""

    name: str
    calibration: Calibration


def read_calibrations(paths: Iterable[str | Path]) -> list[NamedCalibration]:
    """From calibrated indexes, or from what ``crossview calibrate --out`` wrote.

    Raises :class:`BadIndex` or :class:`BadData` for anything else.
    """
    return [NamedCalibration(Path(path).stem, _read(Path(path))) for path in paths]


def draw_reliabilities(trusted: Sequence[NamedCalibration]) -> list[Panel]:
    """A reliability diagram for every kind of picture."""
    return [_panel(name, kind) for name, kind in _kinds(trusted)]


def trust_table(trusted: Sequence[NamedCalibration]) -> Html:
    """Recall, coverage and refusals of every kind of picture, each with its interval."""
    head = ("Region and kind", "Known photos", "Within 25 m", "By chance",
            "Areas of stated coverage", "Own photos refused", "Others let in")  # fmt: skip
    rows = [_row(name, kind) for name, kind in _kinds(trusted)]
    caption = (
        "Percent of photos that the fit had not seen, with 95 % intervals over spots. An area of "
        "stated coverage should hold the truth that often; beside it its median share of the "
        "region. Others let in: photos from elsewhere where such were given, else photos whose own "
        "ground was taken out of the region."
    )
    titles = tag("tr", [tag("th", text, scope="col") for text in head])
    table = tag("table", tag("caption", caption), tag("thead", titles), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex="0")


def _read(path: Path) -> Calibration:
    if path.is_dir():
        values: Any = read_manifest(path).calibration
        if values is None:
            raise BadIndex(f"{path} is not calibrated.\nCalibrate it with: crossview calibrate")
        return Calibration.from_json(values)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise BadData(
            f"{path} cannot be read as a calibration: {problem}.\n"
            "Give a calibrated index, or what crossview calibrate --out wrote."
        ) from problem
    return Calibration.from_json(values)


def _kinds(trusted: Sequence[NamedCalibration]) -> Iterator[tuple[str, Calibrated]]:
    for one in trusted:
        for kind in one.calibration.kinds:
            yield one.name, kind


def _panel(name: str, kind: Calibrated) -> Panel:
    known = kind.measured
    stated, came_true, _ = np.array(known["reliability"]).T

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1.2, linestyle=DOTS)
        axes.plot(100 * stated, 100 * came_true, color=KINDS[0], marker="o", markersize=5)
        axes.set_xlim(0, 101.5)
        set_percent_axis(axes)
        axes.set_xlabel("stated probability, %")

    note = (
        f"n = {kind.n:,} at {known['spots']:,} spots. Expected calibration error "
        f"{known['calibration_error']:.3f} ({known['calibration_error_by_chance']:.3f} by chance "
        f"at this n), Brier score {known['brier']:.3f}. Dotted: what is stated comes true."
    )
    title = f"{name}, {kind.name}"
    return Panel(draw_svg(draw, f"Reliability of {title}. {note}", (300, 260)), title, note)


def _row(name: str, kind: Calibrated) -> Html:
    known = kind.measured
    areas = [
        tag("span", f"{100 * one['asked']:g}: {_share(one['coverage'])}; "
            f"median {100 * one['median_share']:.1f} % of the region", class_="range")
        for one in known["sets"]
    ]  # fmt: skip
    others = known.get("false_accept_elsewhere", known.get("false_accept"))
    cells: list[Child] = [
        f"{kind.n:,}", _share(known["recall"]["1"]), f"{100 * known['within_25m_by_chance']:.2g}",
        areas, _share(known["false_reject"]), _share(others) if others else "–",
    ]  # fmt: skip
    title = tag("th", name, tag("span", kind.name, class_="detail"), scope="row")
    return tag("tr", title, [tag("td", cell) for cell in cells])


def _share(given: Mapping[str, float]) -> str:
    value, low, high = (100.0 * given[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


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
    ending = read_figure_format(path)
    figure = Figure(figsize=(4.5 * len(columns), 8.4), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for column, (title, kinds) in enumerate(columns.items()):
        _reliability(axes[0][column], title, kinds)
        _refusals(axes[1][column], kinds)
    with writing(path) as temporary:
        figure.savefig(temporary, format=ending, dpi=110)


def read_figure_format(path: Path) -> str:
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
