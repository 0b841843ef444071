"""Photos whose lens nothing tells of: which field of view to choose, and who "stands out" rightly.

    make bench NAME=unknown_lens                about 10 minutes of one core, most of it once
    make bench NAME="unknown_lens --tilted"     tilted photos of ten towns; 15 minutes of one core

On the demo's town, which the packaged model has never seen: photos of 55 to 105 degrees without
their EXIF, and panoramas, without hints and with a heading (off by 5 degrees, one standard
deviation) and an area (300 m around a point up to 150 m off). Chosen by score is what ``locate``
does; prominence, how far the best window stands above the others in units of their spread, is what
it did before. "Elsewhere": the same photo with the ground that it shows taken out of the region.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import _towns, harness
from benchmarks.harness import format_share
from crossview.arrays import F32, F64
from crossview.demo import DemoSettings
from crossview.files import atomic_write
from crossview.geo.points import LatLon, measure_distances_m, move_point
from crossview.index.store import Index
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.localization.queries import TRIED_FOV_DEG, choose_readings
from crossview.localization.search import count_searched_places, rank_places
from crossview.model import Embedder, open_model
from crossview.outputs.records import stands_out
from crossview.stats import cluster_interval, wilson
from crossview.views.decode import Photo, load_photo
from crossview.views.lens import find_horizon_px, turn_lens
from crossview.worlds import camera
from crossview.worlds.town import TOWN_VERSION, build_town
from crossview.worlds.town_pairs import FIRST_TEST_SEED
from crossview.worlds.write import PHOTO_PX, PhotoSeries, write_world

STYLE, STRIDE_M = "suburb", 8.0  # as the demo
WIDTHS_DEG = (55.0, 65.0, 75.0, 85.0, 95.0, 105.0)
HEADING_SIGMA_DEG, RADIUS_M = 5.0, 300.0
CONDITIONS = ("no hints", "area", "heading", "area and heading")
RULES = ("prominence of all", "prominence", "score", "score and lines", "given")
TOWNS = Path("runs/towns")
LENSES_DEG, PITCHED_DEG = (65.0, 50.0), 10.0  # of the tilted photos
COVERED_FIRST = (65.0, 80.0, 100.0)  # tried before, across any photo
LEVEL, LEVEL_UNKNOWN = "90 degrees, level, known lens", "90 degrees, level"
_ALL_LEVEL = (LEVEL, LEVEL_UNKNOWN)
TILTED = ("before", "now", "given")


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
    if wanted.tilted:
        measure_tilted(embedder, wanted)
        return
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
    parser.add_argument("--tilted", action="store_true", help="tilted photos of ten towns instead")
    parser.add_argument("--seeds", type=int, default=5, help="with --tilted: towns of each style")
    parser.add_argument("--towns", type=Path, default=TOWNS, help="with --tilted: where they are")
    return parser.parse_args()


def _shots(folder: Path) -> Iterator[Shot]:
    rng = np.random.default_rng(0)
    with (folder / "places.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            truth = LatLon(float(row["lat"]), float(row["lon"]))
            heading = (float(row["heading_deg"]) + rng.normal(0.0, HEADING_SIGMA_DEG)) % 360.0
            near = _move_away(truth, rng)
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
                (now,) = locate_many(index, embedder, [shot.photo], [hints])
                right[name]["score and lines"].append(_is_right(now.scores, away_m))
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


@dataclass(frozen=True, kw_only=True)
class TiltedShot:
    """A photo of one lens, with all that nothing tells of it."""

    photo: Photo
    kind: str
    fov_deg: float  # across
    pitch_deg: float
    truth: LatLon
    heading_deg: float

    @property
    def horizon_px(self) -> float:
        """Row of the true horizon."""
        height, width = self.photo.pixels.shape[:2]
        return find_horizon_px((width, height), self.fov_deg, self.pitch_deg)


def measure_tilted(embedder: Embedder, wanted: argparse.Namespace) -> None:
    """Ask all towns, print a table of each style and one JSON line."""
    rows: list[dict[str, Any]] = []
    wanted.root.mkdir(parents=True, exist_ok=True)
    for town in _towns.demo_towns(wanted.towns, wanted.seeds):
        kept = wanted.root / f"tilts-{town.folder.name}-{wanted.each}.json"
        if not kept.is_file():  # a stopped run goes on
            index, rng = Index.open(town.index), np.random.default_rng(town.seed)
            shots = _tilted_shots(town, wanted.each // 4)
            asked = [_ask(index, embedder, one, rng) for shot in shots for one in _hide_lens(shot)]
            atomic_write(kept, json.dumps(asked))
            print(f"asked {town.style} {town.seed}", file=sys.stderr, flush=True)
        told_there = json.loads(kept.read_text(encoding="utf-8"))
        rows += [{"style": town.style, "town": town.seed, **row} for row in told_there]
    print("\n".join(_tilted_tables(rows)))
    told = [row for row in rows if row["kind"] not in _ALL_LEVEL]
    harness.report(
        name="unknown_lens_tilted",
        ratios={},
        n=len(told),
        threads=wanted.threads or os.cpu_count() or 1,
        medians={"tilt_error_deg": float(np.median([row["tilt_error_deg"] for row in told]))},
        town_version=TOWN_VERSION,
        model=embedder.fingerprint[:12],
        found={
            f"{style}, {rule}, {what}{name}": _over_towns(
                [row for row in told if row["style"] == style], f"{rule}, {what}{name}"
            )
            for style in dict.fromkeys(row["style"] for row in rows)
            for rule in TILTED
            for what in ("", "lens, ")
            for name in CONDITIONS[::3]
        },
    )


def _tilted_shots(town: _towns.DemoTown, each: int) -> Iterator[TiltedShot]:
    """``each`` photos of every lens, across and upright, and four times as many level ones."""
    world = build_town(town.style, town.seed, DemoSettings().side_m)
    drive, look = camera.start_drive(world), 100_000
    kinds = [(fov, PHOTO_PX, PITCHED_DEG) for fov in LENSES_DEG]
    kinds += [(turn_lens(fov, 0.75), PHOTO_PX[::-1], PITCHED_DEG) for fov in LENSES_DEG]
    for n, (fov, size, most_deg) in enumerate([*kinds, (90.0, PHOTO_PX, 0.0)]):
        held = "across" if size == PHOTO_PX else "upright"
        kind = f"{LENSES_DEG[n % 2]:g} degrees {held}" if most_deg else LEVEL
        rng = world.seed_generator(f"unknown lens {kind}")
        count = each if most_deg else 4 * each
        for east, south in camera.draw_camera_places(world, count, f"unknown lens {kind}"):
            look += 1
            heading, pitch = rng.uniform(0.0, 360.0), rng.uniform(-most_deg, most_deg)
            shot = camera.Shot(
                float(east), float(south), float(heading), fov, float(pitch), *size, look
            )
            jpeg = BytesIO()
            Image.fromarray(camera.render_photo(drive, shot)).save(jpeg, "JPEG", quality=90)
            truth = world.site.latlon(shot.east_m, shot.south_m)
            yield TiltedShot(
                photo=load_photo(jpeg.getvalue()),
                kind=kind,
                fov_deg=fov,
                pitch_deg=shot.pitch_deg,
                truth=truth,
                heading_deg=(shot.heading_deg + world.site.convergence_deg(truth)) % 360.0,
            )


def _hide_lens(shot: TiltedShot) -> tuple[TiltedShot, ...]:
    """A level photo is asked for twice: with its lens, and without."""
    return (shot, replace(shot, kind=LEVEL_UNKNOWN)) if shot.kind == LEVEL else (shot,)


def _ask(
    index: Index, embedder: Embedder, shot: TiltedShot, rng: np.random.Generator
) -> dict[str, Any]:
    """Whether each rule finds the place, and the lens, of one photo."""
    away_m = measure_distances_m(shot.truth, index.lat, index.lon)
    middle = len(shot.photo.pixels) / 2.0
    lens: dict[str, Any] = {"fov_deg": shot.fov_deg}
    (reading,) = choose_readings(shot.photo, Hints(**lens), embedder.info)
    assert reading.tilt is not None
    row: dict[str, Any] = {
        "kind": shot.kind,
        "tilt_error_deg": abs(reading.tilt.pitch_deg - shot.pitch_deg),
    }
    for name, known in zip(CONDITIONS[::3], _draw_hints(shot, rng), strict=True):
        if shot.kind == LEVEL:  # of known lens
            asked = {"before": {**lens, "horizon_px": middle}, "now": lens}
        else:
            asked = {f"before {f:g}": {"fov_deg": f, "horizon_px": middle} for f in COVERED_FIRST}
            asked |= {"now": {}, "given": {**lens, "horizon_px": shot.horizon_px}}
        hints = [Hints(places=2, rerank=0, **known, **more) for more in asked.values()]
        found = locate_many(index, embedder, [shot.photo] * len(hints), hints)
        answers = dict(zip(asked, found, strict=True))
        tried = [answers[key] for key in answers if key.startswith("before")]
        answers["before"] = max(tried, key=lambda answer: float(np.nanmax(answer.scores)))
        for rule in TILTED:
            if (answer := answers.get(rule)) is None:
                continue
            row[f"{rule}, {name}"] = _is_right(answer.scores, away_m)
            if rule != "given" and shot.kind != LEVEL:
                read = choose_readings(shot.photo, Hints(), embedder.info)
                fovs = COVERED_FIRST if rule == "before" else [each.fov_deg for each in read]
                row[f"{rule}, lens, {name}"] = _is_nearest(answer.fov_deg, fovs, shot.fov_deg)
    return row


def _is_nearest(fov_deg: float, tried_deg: Sequence[float], true_deg: float) -> bool:
    """Whether none of those tried is nearer, in what lenses of one picture differ by."""
    zoom = np.log(np.tan(np.radians([fov_deg, true_deg, *tried_deg]) / 2.0))
    off = np.abs(zoom - zoom[1])
    return bool(off[0] <= off[2:].min() + 1e-6)


def _draw_hints(shot: TiltedShot, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Nothing, and an area with a heading."""
    heading = (shot.heading_deg + rng.normal(0.0, HEADING_SIGMA_DEG)) % 360.0
    yield {}
    yield {"near": _move_away(shot.truth, rng), "within_m": RADIUS_M, "heading_deg": heading}


def _move_away(truth: LatLon, rng: np.random.Generator) -> LatLon:
    """A point that somebody may take for the place: up to half of the radius off."""
    away_m, bearing = RADIUS_M / 2.0 * np.sqrt(rng.random()), rng.uniform(0.0, 2.0 * np.pi)
    return move_point(
        truth,
        east_m=float(away_m * np.sin(bearing)),
        north_m=float(away_m * np.cos(bearing)),
    )


def _over_towns(rows: Sequence[dict[str, Any]], key: str) -> dict[str, float]:
    """A share of photos, with an interval over towns; without photos only n."""
    kept = [row for row in rows if key in row]
    if not kept:
        return {"n": 0}
    values = [float(row[key]) for row in kept]
    low, high = cluster_interval(values, [row["town"] for row in kept])
    return {"value": float(np.mean(values)), "low": low, "high": high, "n": len(kept)}


def _tilted_tables(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    columns = [f"{what}{name}" for what in ("", "lens, ") for name in CONDITIONS[::3]]
    for style in dict.fromkeys(row["style"] for row in rows):
        own = [row for row in rows if row["style"] == style]
        yield f"| {style} | n | by | " + " | ".join(columns) + " |"
        kinds = list(dict.fromkeys(row["kind"] for row in own))
        tilted = [row for row in own if row["kind"] not in _ALL_LEVEL]
        for kind in (*kinds, "all tilted"):
            some = tilted if kind == "all tilted" else [r for r in own if r["kind"] == kind]
            for rule in TILTED:
                cells = [format_share(_over_towns(some, f"{rule}, {column}")) for column in columns]
                if set(cells) != {"-"}:
                    yield f"| {kind} | {len(some)} | {rule} | " + " | ".join(cells) + " |"
        off = [row["tilt_error_deg"] for row in tilted]
        half, most = np.quantile(off, [0.5, 0.9])
        yield f"Tilt, true lens: {half:.1f} degrees off (median), 90 % within {most:.1f}.\n"


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
        shares = [format_share(found["right"][name][rule]) for name in CONDITIONS]
        yield f"| {rule} | " + " | ".join(shares) + " |"
    yield ""
    yield "| stands out | n | right | said | right where said | said of elsewhere |"
    for kind, conditions in found["stands_out"].items():
        for name, told in conditions.items():
            cells = ("right", "said", "right_where_said", "said_of_elsewhere")
            yield (
                f"| {kind}, {name} | {told['n']} | "
                + " | ".join(format_share(told[cell]) for cell in cells)
                + " |"
            )


if __name__ == "__main__":
    main()
