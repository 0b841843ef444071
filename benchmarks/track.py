"""Tracks: 16 photos along a street of an unseen town, and how far off the last point is.

    make bench NAME=track

Ten walks in each of ten towns (``benchmarks._towns.demo_towns``): steps of about 9 m along
streets, photos of 90 degrees that look along the walk give or take 8 degrees, written as JPEG with
their times, a second exact. Nothing tells the direction. Measured are points as they are known on
the way (the filter), with a fifth of the photos taken from another town, without the assumption
that the camera turns slowly, and points by all photos (the smoother) against what they say of
their own error. What was measured in a town is kept below ``--root`` until it is removed.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks._towns import DemoTown, demo_towns
from crossview.arrays import F64
from crossview.files import atomic_write
from crossview.geo.points import LatLon
from crossview.index.store import Index
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.locate import get_index_model
from crossview.localization.track import Track, TrackOptions, add_truths, locate_track
from crossview.model import Embedder
from crossview.stats import cluster_interval
from crossview.views.decode import Photo, load_photo, read_photo_header
from crossview.worlds.camera import CAMERA_CLEARANCE_M, Shot, render_photo, start_drive
from crossview.worlds.town import CELL_M, TOWN_VERSION, Town, build_town
from crossview.worlds.write import write_photo

STEP_M, STEP_SIGMA_M = 9.0, 1.5
WALK_M_S = 1.4
JITTER_DEG = 8.0  # of the camera about the direction of the walk
PHOTO_PX = (320, 240)
FOV_DEG = 90.0
_AHEAD_M = 24.0  # that a walker looks along a street before choosing it
_START = datetime(2024, 6, 1, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Walk:
    """A walk in a town's own frame: places [n, 2] (east, south in m), grid headings [n]."""

    places: F64
    heading_deg: F64
    seconds: F64


def draw_walk(town: Town, number: int, count: int) -> Walk:
    """Steps along the middle of streets; at crossings the walker turns now and then."""
    rng = town.seed_generator(f"walk {number}")
    depth = np.where(town.height_m == 0, -town.streets.kerb_m / town.streets.half_m, -1.0)
    edge = town.apron_cells + math.ceil(CAMERA_CLEARANCE_M / CELL_M)
    inside = np.full(depth.shape, -1.0)
    inside[edge:-edge, edge:-edge] = depth[edge:-edge, edge:-edge]
    rows, columns = np.nonzero(inside > 0.55)
    while True:
        pick = rng.integers(len(rows))
        at = (np.array([columns[pick], rows[pick]]) + rng.uniform(size=2)) * CELL_M
        towards = rng.uniform(0.0, 360.0)
        way, headings = [], []
        for _ in range(count):
            towards = _choose_direction(inside, at, towards, rng)
            if math.isnan(towards):
                break
            way.append(at)
            headings.append(towards)
            at = at + rng.normal(STEP_M, STEP_SIGMA_M) * _aim(towards)
        if len(way) == count:
            break
    steps = np.hypot(*np.diff(np.array(way), axis=0).T)
    seconds = np.concatenate([[0.0], np.cumsum(steps)]) / WALK_M_S
    looks = (np.array(headings) + rng.normal(0.0, JITTER_DEG, count)) % 360.0
    return Walk(np.array(way), looks, seconds)


def _aim(towards_deg: float) -> F64:
    angle = math.radians(towards_deg)
    return np.array([math.sin(angle), -math.cos(angle)])


def _choose_direction(inside: F64, at: F64, towards: float, rng: np.random.Generator) -> float:
    """The direction of the next step: free ahead, mostly straight on; NaN at a dead end."""
    turns = np.arange(-100.0, 101.0, 4.0) if not math.isnan(towards) else np.array([0.0])
    ahead = np.arange(1.0, _AHEAD_M, 1.0)
    best, chosen = -math.inf, math.nan
    restless = rng.uniform() < 0.2  # would rather turn, where there is a street to turn into
    for turn in turns:
        spots = at + ahead[:, None] * _aim(towards + turn)
        cells = (spots / CELL_M).astype(int)
        free = inside[cells[:, 1], cells[:, 0]]
        if free[:12].min() <= 0.0:
            continue
        bend = abs(turn) / 90.0
        value = np.clip(free, 0.0, 0.8).mean() - (0.6 * abs(bend - 0.9) if restless else 0.5 * bend)
        if value > best:
            best, chosen = value, (towards + turn) % 360.0
    return chosen


def render_walks(folder: Path, style: str, seed: int, walks: int, count: int) -> Path:
    """The photos of a town's walks below ``folder``, unless they are there; the list is last."""
    out = folder / f"walks-{style}-{seed}-{TOWN_VERSION}"
    if (out / "walks.csv").is_file():
        return out
    town = build_town(style, seed, 800.0)
    drive = start_drive(town)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "lat", "lon", "heading_deg", "seconds"))
    for number in range(walks):
        walk = draw_walk(town, number, count)
        (out / f"{number:02d}").mkdir(parents=True, exist_ok=True)
        for n in range(count):
            east, south = map(float, walk.places[n])
            look = 100_000 + number * count + n
            shot = Shot(east, south, float(walk.heading_deg[n]), FOV_DEG, 0.0, *PHOTO_PX, look)
            name = f"{number:02d}/{n:02d}.jpg"
            taken = _START + timedelta(hours=number, seconds=round(float(walk.seconds[n])))
            write_photo(out / name, render_photo(drive, shot), FOV_DEG, taken=taken)
            place = town.site.latlon(east, south)
            heading = (float(walk.heading_deg[n]) + town.site.convergence_deg(place)) % 360.0
            writer.writerow(
                (name, f"{place.lat:.8f}", f"{place.lon:.8f}", f"{heading:.3f}",
                 f"{walk.seconds[n]:.3f}")
            )  # fmt: skip
    atomic_write(out / "walks.csv", text.getvalue())
    print(f"rendered {out.name}", file=sys.stderr, flush=True)
    return out


def read_walks(folder: Path) -> list[list[tuple[Path, LatLon, float]]]:
    """The walks of :func:`render_walks`: file, place and heading of each photo."""
    walks: dict[str, list[tuple[Path, LatLon, float]]] = {}
    with (folder / "walks.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            place = LatLon(float(row["lat"]), float(row["lon"]))
            walks.setdefault(row["file"][:2], []).append(
                (folder / row["file"], place, float(row["heading_deg"]))
            )
    return list(walks.values())


AFTER = (1, 2, 4, 8, 16)  # photos
WALKS, PHOTOS = 10, 16
FOREIGN = 3  # of the 16 photos: a fifth
CONDITIONS = {
    "on the way": TrackOptions(past_only=True),
    "a fifth foreign": TrackOptions(past_only=True),
    "any turn": TrackOptions(past_only=True, turn_sigma_deg=180.0),
    "by all photos": TrackOptions(),
}


@dataclass(frozen=True)
class Picture:
    """A photo of a walk: decoded, when its file says it was taken, and what is true of it."""

    photo: Photo
    taken: datetime
    place: LatLon
    heading_deg: float


def open_walks(folder: Path) -> list[list[Picture]]:
    """The walks of a town, decoded."""
    return [
        [
            Picture(load_photo(file), read_photo_header(file)[1].clock or _START, place, heading)
            for file, place, heading in walk
        ]
        for walk in read_walks(folder)
    ]


def measure_town(town: DemoTown, walks: Path, others: list[Photo]) -> dict[str, list[dict]]:
    """Errors and sigmas of every point of every walk, by condition."""
    index = Index.open(town.index)
    embedder = get_index_model(index)
    rng = np.random.default_rng(town.seed)
    found: dict[str, list[dict]] = {name: [] for name in CONDITIONS}
    for walk in open_walks(walks):
        photos = [picture.photo for picture in walk]
        mixed = list(photos)
        for at in rng.choice(len(walk), FOREIGN, replace=False):
            mixed[at] = others[rng.integers(len(others))]
        for name, options in CONDITIONS.items():
            shown = mixed if name == "a fifth foreign" else photos
            track = _locate(index, embedder, shown, walk, options)
            found[name].append(_describe(track, walk))
    return found


def _locate(
    index: Index,
    embedder: Embedder,
    photos: list[Photo],
    walk: list[Picture],
    options: TrackOptions,
) -> Track:
    seconds = tuple((picture.taken - walk[0].taken).total_seconds() for picture in walk)
    track = locate_track(index, embedder, photos, replace(options, seconds=seconds))
    return add_truths(track, [picture.place for picture in walk])


def _describe(track: Track, walk: list[Picture]) -> dict[str, list[float]]:
    pairs = list(zip(track.points, walk, strict=True))
    return {
        "error_m": [float(p.error_m or 0.0) for p, _ in pairs],
        "sigma_m": [p.position_sigma_m for p, _ in pairs],
        "error_deg": [
            abs(((p.heading_deg or 0.0) - picture.heading_deg + 180.0) % 360.0 - 180.0)
            for p, picture in pairs
        ],
        "sigma_deg": [float(p.heading_sigma_deg or 0.0) for p, _ in pairs],
        "lost": [float(p.lost) for p, _ in pairs],
        "fits": [p.fits for p, _ in pairs],
    }


def main() -> None:
    """Measure all towns, print a table for each style, and what the points say of themselves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/towns"))
    parser.add_argument("--out", type=Path, default=Path("runs/tracks"))
    parser.add_argument("--towns", type=int, default=5, help="of each style")
    args = parser.parse_args()
    towns = list(demo_towns(args.root, args.towns))
    found: dict[str, dict[int, dict[str, list[dict]]]] = {}
    for n, town in enumerate(towns):
        kept = args.out / f"{town.style}-{town.seed}.json"
        walks = render_walks(args.out, town.style, town.seed, WALKS, PHOTOS)
        if not kept.is_file():
            other = towns[(n + len(towns) // 2) % len(towns)]  # of the other style
            theirs = render_walks(args.out, other.style, other.seed, WALKS, PHOTOS)
            others = [load_photo(file) for walk in read_walks(theirs) for file, *_ in walk[::4]]
            atomic_write(kept, json.dumps(measure_town(town, walks, others)))
            print(f"measured {kept.stem}", file=sys.stderr, flush=True)
        found.setdefault(town.style, {})[town.seed] = json.loads(kept.read_text())
    medians = dict(_print_tables(found))
    tracks = len(towns) * WALKS
    harness.report(name="track", ratios={}, n=tracks, threads=1, medians=medians)


def _print_tables(
    found: dict[str, dict[int, dict[str, list[dict]]]],
) -> Iterator[tuple[str, float]]:
    """The tables as Markdown; gives their figures by name."""
    heads = " | ".join(f"{n} photo{'s' * (n > 1)}" for n in AFTER)
    print(f"| within 25 m after | {heads} |\n|---|{'---|' * len(AFTER)}")
    for style, by_seed in found.items():
        for name in list(CONDITIONS)[:-1]:
            cells = []
            for n in AFTER:
                seeds, hits = zip(
                    *(
                        (seed, walk["error_m"][n - 1] <= RIGHT_WITHIN_M)
                        for seed, town in by_seed.items()
                        for walk in town[name]
                    ),
                    strict=True,
                )
                low, high = cluster_interval(np.array(hits, float), seeds)
                cells.append(f"{np.mean(hits):.0%} ({low:.0%} to {high:.0%})")
                yield f"{style}, {name}, {n}", float(np.mean(hits))
            print(f"| {style}, {name} | {' | '.join(cells)} |")
    print(
        "\n| by all photos | points | median, 90 % (m) | within one sigma, two | "
        "median, 90 % (degrees) | within one sigma, two | lost |\n|---|---|---|---|---|---|---|"
    )
    for style, by_seed in found.items():
        walks = [walk for town in by_seed.values() for walk in town["by all photos"]]
        values = {key: np.concatenate([walk[key] for walk in walks]) for key in walks[0]}
        cells = [str(len(values["lost"]))]
        for unit in ("m", "deg"):
            error, sigma = values[f"error_{unit}"], values[f"sigma_{unit}"]
            middle, high = np.percentile(error, (50, 90))
            inside = [float((error <= k * sigma).mean()) for k in (1, 2)]
            cells += [f"{middle:.1f}, {high:.1f}", f"{inside[0]:.0%}, {inside[1]:.0%}"]
            yield f"{style}, median error, {unit}", float(middle)
            yield f"{style}, within one sigma, {unit}", inside[0]
        print(f"| {style} | {' | '.join(cells)} | {values['lost'].mean():.1%} |")


if __name__ == "__main__":
    main()
