"""What was measured of calibrated indexes: whether probabilities come true, what refusing costs.

Kinds of pictures for the report, and the figure that ``crossview calibrate`` draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossview.errors import BadData, BadIndex, InvalidValue
from crossview.files import writing
from crossview.index.store import read_manifest
from crossview.localization.calibration_record import FORMAT, Calibrated, Calibration
from crossview.locks import lock
from crossview.reports.figures import DOTS, KINDS, MUTED, Panel, draw_svg, set_percent_axis
from crossview.schema import compute_checksum, read_object
from crossview.texts import phrase

FORMATS = ("png", "svg", "pdf")
_COLOURS = ("#0b6e8a", "#c4501b", "#5b3fa0", "#4d7a1f", "#a02c5a", "#6b6b6b")
_DIAGONAL = "#888888"

Measured = Mapping[str, Any]  # see calibration.calibrate.figures


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


def list_kinds(calibrations: Iterable[NamedCalibration]) -> list[tuple[str, Calibrated]]:
    """Every kind of picture that was measured, beside the name of what was calibrated."""
    return [
        (named.name, kind)
        for named in calibrations
        for kind in named.calibration.kinds
        if kind.measured  # not carried over
    ]


def draw_reliability(name: str, kind: Calibrated) -> Panel:
    """The reliability diagram of one kind of picture."""
    measured = kind.measured
    stated, came_true, _ = np.array(measured["reliability"]).T

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], gid=MUTED, linewidth=1.2, linestyle=DOTS)
        axes.plot(100 * stated, 100 * came_true, gid=KINDS[0], marker="o", markersize=5)
        axes.set_xlim(0, 101.5)
        set_percent_axis(axes)
        axes.set_xlabel(phrase("trust.axis"))

    title = phrase("trust.title", region=name, kind=kind.name)
    note = phrase(
        "trust.note",
        n=kind.n,
        spots=measured["spots"],
        error=measured["calibration_error"],
        chance=measured["calibration_error_by_chance"],
        brier=measured["brier"],
    )
    label = phrase("trust.label", title=title, note=note)
    return Panel(draw_svg(draw, label, (300, 260)), title, note)


def format_share(share: Mapping[str, float]) -> str:
    """A share in [0, 1] with its interval, in percent."""
    return phrase("trust.share", **{name: 100.0 * share[name] for name in ("value", "low", "high")})


def _read(path: Path) -> Calibration:
    if path.is_dir():
        values: Any = read_manifest(path).calibration
        if values is None:
            raise BadIndex(f"{path} is not calibrated.\nCalibrate it with: crossview calibrate")
        return Calibration.from_json(values)
    try:
        values = read_object(path)
        checksum = values.pop("checksum", None)
        if checksum is None and values.get("format") == FORMAT:
            raise ValueError("it has lost its checksum")
        if checksum is not None and checksum != compute_checksum(values):
            raise ValueError("it has changed since crossview wrote it")
    except (OSError, ValueError) as problem:
        raise BadData(
            f"{path} cannot be read as a calibration: {problem}.\n"
            "Give a calibrated index, or what crossview calibrate --out wrote."
        ) from problem
    return Calibration.from_json(values)


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
        _draw_shares(axes[0][column], title, kinds)
        _draw_refusals(axes[1][column], kinds)
    with lock(path, "crossview calibrate --figure", wait=True), writing(path) as temporary:
        figure.savefig(temporary, format=ending, dpi=110)


def read_figure_format(path: Path) -> str:
    """The format that the ending of a path names; :class:`InvalidValue` if it names none."""
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise InvalidValue(f"{path}: a figure ends in .png, .svg or .pdf.")
    return ending


def _draw_shares(axes: Axes, title: str, kinds: Mapping[str, Measured]) -> None:
    for colour, (kind, measured) in zip(_COLOURS, kinds.items(), strict=False):
        stated, came_true, _ = zip(*measured["reliability"], strict=True)
        label = f"{kind}: n {measured['n']}, error {measured['calibration_error']:.3f}"
        axes.plot(stated, came_true, "o-", color=colour, markersize=4, label=label)
    axes.plot([0, 1], [0, 1], color=_DIAGONAL, linewidth=0.8)
    _set_unit_square(axes, "stated probability of lying within 25 m", "share that did")
    axes.set_title(title)


def _draw_refusals(axes: Axes, kinds: Mapping[str, Measured]) -> None:
    for colour, (kind, measured) in zip(_COLOURS, kinds.items(), strict=False):
        if "refusals" not in measured:
            continue
        refused, accepted = zip(*measured["refusals"], strict=True)
        label = f"{kind}: area {measured['told_apart']:.2f}"
        axes.plot(refused, accepted, color=colour, label=label)
    axes.plot([0, 1], [1, 0], color=_DIAGONAL, linewidth=0.8)
    _set_unit_square(axes, "pictures of the region that are refused",
           "pictures from elsewhere that are accepted")  # fmt: skip


def _set_unit_square(axes: Axes, below: str, beside: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=below, ylabel=beside)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)
