"""Photos whose lens nothing tells of: which field of view to choose, and who "stands out" rightly.

    make bench NAME=unknown_lens      about 10 minutes of one core, most of it the first time

On the demo's town, which the packaged model has never seen: photos of 55 to 105 degrees without
their EXIF, and panoramas, without hints and with a heading (off by 5 degrees, one standard
deviation) and an area (300 m around a point up to 150 m off). Chosen by score is what ``locate``
does; prominence, how far the best window stands above the others in units of their spread, is what
it did before. "Elsewhere": the same photo with the ground that it shows taken out of the region.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from crossview.arrays import F32, F64
from crossview.geo.points import LatLon, measure_distances_m, move_point
from crossview.index.store import Index
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.localization.queries import TRIED_FOV_DEG
from crossview.localization.search import count_searched_places, rank_places
from crossview.model import Embedder, open_model
from crossview.outputs.records import stands_out
from crossview.stats import wilson
from crossview.views.decode import Photo, load_photo
from crossview.worlds.town import TOWN_VERSION
from crossview.worlds.town_pairs import FIRST_TEST_SEED
from crossview.worlds.write import PhotoSeries, write_world

STYLE, STRIDE_M = "suburb", 8.0  # as the demo
WIDTHS_DEG = (55.0, 65.0, 75.0, 85.0, 95.0, 105.0)
HEADING_SIGMA_DEG, RADIUS_M = 5.0, 300.0
CONDITIONS = ("no hints", "area", "heading", "area and heading")
RULES = ("prominence of all", "prominence", "score", "given")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A photo with its truth, and the hints that stand for what somebody may know."""

    photo: Photo
    fov_deg: float
    truth: LatLon
    hints: dict[str, Hints]


def main() -> None:
    """Render, index, ask, measure; print two tables and one JSON line."""
    wanted = _arguments()
    embedder = open_model("town", threads=wanted.threads)
    folder = wanted.root / f"{STYLE}-{wanted.each}-{wanted.side_m:g}m-{TOWN_VERSION}"
    if not (folder / "places.csv").is_file():
        series = (*(PhotoSeries(wanted.each, fov) for fov in WIDTHS_DEG), PhotoSeries(wanted.each))
        write_world(folder, STYLE, FIRST_TEST_SEED, side_m=wanted.side_m, series=series)
    index = Index.open(_towns.indexed(folder, embedder, STRIDE_M))
    found = measured(index, embedder, list(_shots(folder)))
    print("\n".join(_tables(found)))
    harness.report(
        name="unknown_lens",
        ratios={},
        n=wanted.each * len(WIDTHS_DEG),
        threads=wanted.threads or os.cpu_count() or 1,
        medians={},
        town_version=TOWN_VERSION,
        model=embedder.fingerprint[:12],
        **found,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/unknown_lens"))
    parser.add_argument("--each", type=int, default=50, help="pictures of each width")
    parser.add_argument("--side-m", type=float, default=800.0)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def _shots(folder: Path) -> Iterator[Shot]:
    rng = np.random.default_rng(0)
    with (folder / "places.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            truth = LatLon(float(row["lat"]), float(row["lon"]))
            heading = (float(row["heading_deg"]) + rng.normal(0.0, HEADING_SIGMA_DEG)) % 360.0
            away_m, bearing = RADIUS_M / 2.0 * np.sqrt(rng.random()), rng.uniform(0.0, 2.0 * np.pi)
            near = move_point(
                truth,
                east_m=float(away_m * np.sin(bearing)),
                north_m=float(away_m * np.cos(bearing)),
            )
            area: dict[str, Any] = {"near": near, "within_m": RADIUS_M}
            direction: dict[str, Any] = {"heading_deg": heading}
            kinds: tuple[dict[str, Any], ...] = ({}, area, direction, {**area, **direction})
            yield Shot(
                photo=replace(load_photo(folder / row["file"]), fov_deg=None),
                fov_deg=float(row["fov_deg"]),
                truth=truth,
                hints={
                    name: Hints(places=2, **some)
                    for name, some in zip(CONDITIONS, kinds, strict=True)
                },
            )


def measured(index: Index, embedder: Embedder, shots: Sequence[Shot]) -> dict[str, Any]:
    """Shares right first by rule, and of what was said to stand out, for every condition."""
    right: dict[str, dict[str, list[bool]]] = {
        name: {rule: [] for rule in RULES} for name in CONDITIONS
    }
    said: dict[str, dict[str, list[tuple[bool, bool, bool]]]] = {
        kind: {name: [] for name in CONDITIONS} for kind in ("photos", "panoramas")
    }
    for shot in shots:
        away_m = measure_distances_m(shot.truth, index.lat, index.lon)
        for name, hints in shot.hints.items():
            tried = () if shot.fov_deg == 360.0 else TRIED_FOV_DEG
            widths = (*tried, shot.fov_deg)
            asked = [replace(hints, fov_deg=fov) for fov in widths]
            answers = locate_many(index, embedder, [shot.photo] * len(asked), asked)
            covered = [n for n, fov in enumerate(tried) if embedder.info.covers(fov)]
            if tried:
                chosen = {
                    "prominence of all": max(range(len(tried)), key=_prominences(answers)),
                    "prominence": max(covered, key=_prominences(answers)),
                    "score": max(covered, key=lambda n: float(np.nanmax(answers[n].scores))),
                    "given": len(tried),
                }
                for rule, n in chosen.items():
                    right[name][rule].append(_is_right(answers[n].scores, away_m))
            some = [answers[n].scores for n in covered] or [answers[-1].scores]
            answer = _chosen(index, answers[0], some)
            gone = [np.where(away_m > index.manifest.footprint_m, s, np.nan) for s in some]
            said["photos" if tried else "panoramas"][name].append((
                stands_out(answer),
                _is_right(answer.scores, away_m),
                stands_out(_chosen(index, answer, gone)),
            ))  # fmt: skip
    return {
        "right": {n: {rule: _share(v) for rule, v in rules.items()} for n, rules in right.items()},
        "stands_out": {
            kind: {
                name: {
                    "n": len(each),
                    "right": _share([ok for _, ok, _ in each]),
                    "said": _share([clear for clear, _, _ in each]),
                    "right_where_said": _share([ok for clear, ok, _ in each if clear]),
                    "said_of_elsewhere": _share([lost for _, _, lost in each]),
                }
                for name, each in some.items()
            }
            for kind, some in said.items()
        },
    }


def _prominences(answers: Sequence[Answer]) -> Any:
    def prominence(n: int) -> float:
        scores = answers[n].scores[np.isfinite(answers[n].scores)].astype(np.float64)
        low, median, high = np.quantile(scores, [0.16, 0.5, 0.84])
        return float((scores.max() - median) / max(high - low, 1e-9))

    return prominence


def _is_right(scores: F32, away_m: F64) -> bool:
    return bool(away_m[np.nanargmax(scores)] <= RIGHT_WITHIN_M)


def _chosen(index: Index, answer: Answer, tried: Sequence[F32]) -> Answer:
    """The answer of the field of view whose best score is the highest."""
    scores = max(tried, key=lambda one: float(np.nanmax(one))).astype(np.float32)
    found = rank_places(index, scores, np.full(len(scores), np.nan, np.float32), 2)
    return replace(
        answer,
        scores=scores,
        places=found,
        second=found[1].score if len(found) > 1 else None,
        searched_places=count_searched_places(index, scores),
    )


def _share(hits: Sequence[bool]) -> dict[str, float]:
    """The share of hits with its 95 % interval (Wilson, over photos); without photos only n."""
    if not hits:
        return {"n": 0}
    low, high = wilson(sum(hits), len(hits))
    return {"value": sum(hits) / len(hits), "low": low, "high": high, "n": len(hits)}


def _tables(found: dict[str, Any]) -> Iterator[str]:
    yield "| first place within 25 m, chosen by | " + " | ".join(CONDITIONS) + " |"
    for rule in RULES:
        shares = [_text(found["right"][name][rule]) for name in CONDITIONS]
        yield f"| {rule} | " + " | ".join(shares) + " |"
    yield ""
    yield "| stands out | n | right | said | right where said | said of elsewhere |"
    for kind, conditions in found["stands_out"].items():
        for name, told in conditions.items():
            cells = ("right", "said", "right_where_said", "said_of_elsewhere")
            yield (
                f"| {kind}, {name} | {told['n']} | "
                + " | ".join(_text(told[cell]) for cell in cells)
                + " |"
            )


def _text(share: dict[str, float]) -> str:
    if not share["n"]:
        return "-"
    value, low, high = (100.0 * share[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
