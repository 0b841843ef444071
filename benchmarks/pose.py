"""Position and heading between windows and turns, and whether sigmas of other towns hold.

    make bench NAME=pose      about an hour of one core with the towns, the first time

Ten towns that the packaged model has never seen, five of a style of its training and five of one
that it has not seen; panoramas and photos of 90 degrees, headings unknown. Only pictures whose
first place is right (within 25 m) count. "Before" is the middle of the best window and its best
turn, as `locate` answered until now. Sigmas of a town are carried over from the four others of its
style, or from the five of the other style, as `crossview calibrate --from` does. What is measured
of a town is kept below `--kept`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from benchmarks.harness import format_share, measure_share
from crossview.arrays import F64
from crossview.calibration.calibrate import calibrate, carry_calibration, state_sigmas
from crossview.calibration.fit import CalibrationGoal
from crossview.calibration.known_photos import KnownPhoto, make_known_photo
from crossview.files import atomic_write
from crossview.geo.points import LatLon, measure_turns_deg
from crossview.index.store import Index
from crossview.lists import read_table
from crossview.localization.accuracy import RANKS
from crossview.localization.calibration_record import Calibrated, Calibration
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.model import Embedder, open_model
from crossview.stats import quantile_interval
from crossview.worlds.town import TOWN_VERSION

KINDS = {"panorama": "panoramas", "photo_90deg": "photos of 90 degrees"}
TOGETHER = 50
FIGURES = (
    "right", "error_m", "centre_error_m", "heading_error_deg", "coarse_heading_error_deg",
    "peak_m", "peak_deg",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Town:
    """What was measured of a town: its calibration, and by kind the figures [n] of its pictures."""

    style: str
    index: Index
    calibration: Calibration
    figures: dict[str, dict[str, F64]]


def main() -> None:
    """Measure the towns, carry calibrations over, print tables and one JSON line."""
    wanted = _arguments()
    embedder = open_model("town", threads=wanted.threads)
    towns = [
        _open(town, embedder, wanted.kept) for town in _towns.demo_towns(wanted.root, wanted.seeds)
    ]
    found = {style: measured(style, towns) for style in dict.fromkeys(t.style for t in towns)}
    print("\n".join(_tables(found)))
    harness.report(
        name="pose",
        ratios={},
        n=sum(len(figures["right"]) for town in towns for figures in town.figures.values()),
        threads=wanted.threads,
        medians={},
        town_version=TOWN_VERSION,
        model=embedder.fingerprint[:12],
        found=found,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/towns"))
    parser.add_argument("--kept", type=Path, default=Path("runs/pose"))
    parser.add_argument("--seeds", type=int, default=5, help="towns of each style")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _open(town: _towns.DemoTown, embedder: Embedder, kept: Path) -> Town:
    """What is known of a town, measured unless it is kept; its index holds its calibration."""
    index = Index.open(town.index)
    file = kept / f"{town.folder.name}.json"
    if not file.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        atomic_write(file, json.dumps(_measure(town, index, embedder)))
        print(f"measured {town.folder.name}", flush=True)
    values = json.loads(file.read_text(encoding="utf-8"))
    index.manifest = replace(index.manifest, calibration=values["calibration"])  # in memory only
    figures = {
        kind: {name: np.array(column, np.float64) for name, column in columns.items()}
        for kind, columns in values["figures"].items()
    }
    return Town(town.style, index, Calibration.from_json(values["calibration"]), figures)


def _measure(town: _towns.DemoTown, index: Index, embedder: Embedder) -> dict[str, Any]:
    """Locate a town's pictures, and calibrate on them; the index on the disk stays as it is."""
    rows = [row for row in read_table(town.places, needed=("file", "lat", "lon", "heading_deg"))]
    figures: dict[str, dict[str, list[float]]] = {}
    known: list[KnownPhoto] = []
    hints = Hints(places=max(RANKS), ignore_direction=True)
    for kind in KINDS:
        columns: dict[str, list[float]] = {name: [] for name in FIGURES}
        chosen = [row for row in rows if row.text("kind") == kind]
        for start in range(0, len(chosen), TOGETHER):
            some = chosen[start : start + TOGETHER]
            photos = [town.places.parent / row.text("file") for row in some]
            answers = locate_many(index, embedder, photos, hints)
            for row, answer in zip(some, answers, strict=True):
                heading = row.number("heading_deg")
                record = make_known_photo(index, answer, LatLon(*row.place()), heading)
                if record is None:
                    continue
                known.append(record)
                first = answer.places[0]
                step = 360.0 / embedder.info.azimuth_bins
                up = first.footprint.up_bearing_deg
                turn = up + step * round(((first.heading_deg or 0.0) - up) / step)
                for name, value in (
                    ("right", float(record.hits[0])),
                    ("error_m", record.error_m),
                    ("centre_error_m", record.centre_error_m),
                    ("heading_error_deg", record.heading_error_deg),
                    ("coarse_heading_error_deg", float(measure_turns_deg(turn, heading))),
                    ("peak_m", record.peak_m),
                    ("peak_deg", record.peak_deg),
                ):
                    columns[name].append(float("nan") if value is None else value)
        figures[kind] = columns
    calibration = calibrate(known, CalibrationGoal(), index.manifest.stride_m)
    return {"calibration": calibration.to_json(), "figures": figures}


def measured(style: str, towns: Sequence[Town]) -> dict[str, Any]:
    """Errors before and after, and what sigmas of other towns hold, by kind; over towns."""
    own = [town for town in towns if town.style == style]
    others = [town for town in towns if town.style != style]
    found: dict[str, Any] = {}
    for kind, name in KINDS.items():
        rows: dict[str, list[F64]] = {}
        for number, town in enumerate(own):
            figures = town.figures[kind]
            right = figures["right"] == 1.0
            columns = {key: values[right] for key, values in figures.items()}
            columns["town"] = np.full(int(right.sum()), float(number))
            for source, group in (
                ("alike", [other for other in own if other is not town]),
                ("other style", others),
            ):
                if group:
                    carried = carry_calibration(town.index, [other.index for other in group])
                    columns |= _within(columns, _kind(carried, name), source)
            for key, values in columns.items():
                rows.setdefault(key, []).append(values)
        found[kind] = _summarise({key: np.concatenate(parts) for key, parts in rows.items()})
        found[kind]["pictures"] = int(sum(len(town.figures[kind]["right"]) for town in own))
        found[kind]["towns"] = len(own)
    return found


def _kind(calibration: Calibration, name: str) -> Calibrated:
    return next(kind for kind in calibration.kinds if kind.name == name)


def _within(columns: dict[str, F64], kind: Calibrated, source: str) -> dict[str, F64]:
    """Errors [n] in sigmas that were carried over."""
    if kind.spread is None:
        return {}
    position_m, heading_deg = state_sigmas(columns["peak_m"], columns["peak_deg"], kind.spread)
    return {
        f"position, {source}": columns["error_m"] / position_m,
        f"heading, {source}": columns["heading_error_deg"] / heading_deg,
    }


def _summarise(columns: dict[str, F64]) -> dict[str, Any]:
    """Medians, 90 % and shares with intervals over towns."""
    clusters = columns.pop("town").astype(np.int64)
    told: dict[str, Any] = {"n": len(clusters)}
    for key, values in columns.items():
        some = np.isfinite(values)
        if key.endswith(("_m", "_deg")) and some.any():
            low, high = quantile_interval(values[some], clusters[some], 0.5)
            told[key] = {
                "median": float(np.median(values[some])),
                "low": low,
                "high": high,
                "90 %": float(np.quantile(values[some], 0.9)),
            }
        elif ", " in key and some.any():
            told[key] = {
                str(sigmas): measure_share(values[some] <= sigmas, clusters[some])
                for sigmas in (1, 2)
            }
    return told


def _tables(found: dict[str, Any]) -> Iterator[str]:
    yield "| | right | position before | after | 90 % | heading before | after | 90 % |"
    yield "|---|---|---|---|---|---|---|---|"
    for style, kinds in found.items():
        for kind, told in kinds.items():
            cells = [f"{style}: {KINDS[kind]}", f"{told['n']} of {told['pictures']}"]
            for before, after, unit in (
                ("centre_error_m", "error_m", "m"),
                ("coarse_heading_error_deg", "heading_error_deg", "degrees"),
            ):
                new = told[after]
                cells += [
                    f"{told[before]['median']:.2f} {unit}",
                    f"**{new['median']:.2f}** ({new['low']:.2f} to {new['high']:.2f})",
                    f"{told[before]['90 %']:.1f} to {new['90 %']:.1f}",
                ]
            yield "| " + " | ".join(cells) + " |"
    yield ""
    yield "| sigmas carried over | position: within one | two | heading: within one | two |"
    yield "|---|---|---|---|---|"
    for style, kinds in found.items():
        for kind, told in kinds.items():
            for source in ("alike", "other style"):
                shares = [
                    format_share(told[f"{what}, {source}"][str(sigmas)])
                    for what in ("position", "heading")
                    if f"{what}, {source}" in told
                    for sigmas in (1, 2)
                ]
                if shares:
                    yield (
                        f"| {style}: {KINDS[kind]}, from {source} | " + " | ".join(shares) + " |"
                    )


if __name__ == "__main__":
    main()
