"""What was measured of calibrated indexes: reliability, areas of stated coverage, refusing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from crossview.errors import BadData, BadIndex
from crossview.index.store import read_manifest
from crossview.localization.calibration_record import Calibrated, Calibration
from crossview.reports.markup import Child, Html, tag
from crossview.reports.pens import DOTS, percent
from crossview.reports.svg import KINDS, MUTED, Panel, drawn


@dataclass(frozen=True)
class Trusted:
    """A calibration and the name of where it was read."""

    name: str
    calibration: Calibration


def read_calibrations(paths: Iterable[str | Path]) -> list[Trusted]:
    """From calibrated indexes, or from what ``crossview calibrate --out`` wrote.

    Raises :class:`BadIndex` or :class:`BadData` for anything else.
    """
    return [Trusted(Path(path).stem, _read(Path(path))) for path in paths]


def trust_panels(trusted: Sequence[Trusted]) -> list[Panel]:
    """A reliability diagram for every kind of picture."""
    return [_panel(name, kind) for name, kind in _kinds(trusted)]


def trust_table(trusted: Sequence[Trusted]) -> Html:
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


def _kinds(trusted: Sequence[Trusted]) -> Iterator[tuple[str, Calibrated]]:
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
        percent(axes)
        axes.set_xlabel("stated probability, %")

    note = (
        f"n = {kind.n:,} at {known['spots']:,} spots. Expected calibration error "
        f"{known['calibration_error']:.3f} ({known['calibration_error_by_chance']:.3f} by chance "
        f"at this n), Brier score {known['brier']:.3f}. Dotted: what is stated comes true."
    )
    title = f"{name}, {kind.name}"
    return Panel(drawn(draw, f"Reliability of {title}. {note}", (300, 260)), title, note)


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
