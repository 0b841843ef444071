"""Tracks: 16 photos along a street of an unseen town, and how far off the last point is.

    make bench NAME=track

Ten walks in each of ten towns (``benchmarks._towns.demo_towns``): steps of about 9 m along
streets, photos of 90 degrees that look along the walk give or take 8 degrees, written as JPEG with
their times, a second exact. Nothing tells the direction.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from crossview.arrays import F64
from crossview.files import atomic_write
from crossview.geo.points import LatLon
from crossview.worlds.camera import CAMERA_CLEARANCE_M, Shot, render_photo, start_drive
from crossview.worlds.construction import build_town
from crossview.worlds.raster import CELL_M
from crossview.worlds.town import TOWN_VERSION, Town
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
