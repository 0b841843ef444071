"""Training pairs from many towns: panoramas and the ground around them, as ``pairs.csv``."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossview.files import atomic_write, sweep, wait_for_disk
from crossview.locks import lock
from crossview.worlds.camera import Shot, draw_camera_places, render_panorama, start_drive
from crossview.worlds.construction import build_town
from crossview.worlds.overhead import render_orthophoto
from crossview.worlds.raster import CELL_M
from crossview.worlds.styles import SEEN_STYLES
from crossview.worlds.town import TOWN_VERSION, Town
from crossview.worlds.write import is_synthetic_picture, mark_synthetic

COLUMNS = (
    *("ground", "aerial", "split", "relation", "ground_lat", "ground_lon", "aerial_lat"),
    *("aerial_lon", "metres_per_px", "up_bearing_deg", "heading_deg", "fov_deg", "kind"),
)
PAIRS_NAME = "pairs.csv"
FIRST_VALIDATION_SEED, FIRST_TEST_SEED = 10_000, 20_000
CROP_PX = 260  # 104 m: a footprint of 80 m that may move by 12 m
DAYS = 4  # drives per town, each with its own light, season and cars


@dataclass(frozen=True)
class TownPlan:
    """How many towns and pictures; seeds below 10 000 train, the next 10 000 validate.

    ``test_styles``: one more town of each, from seed 20 000 on, in split test.
    """

    styles: tuple[str, ...] = SEEN_STYLES
    towns_per_style: int = 12
    pairs_per_town: int = 300
    validation_pairs_per_style: int = 150
    side_m: float = 640.0
    test_styles: tuple[str, ...] = ()
    test_pairs_per_style: int = 0

    def __str__(self) -> str:
        """One sentence; plans are equal exactly if their sentences are. Noted beside the pairs."""
        test = (
            f"; to test, a town of each of {', '.join(self.test_styles)} "
            f"with {self.test_pairs_per_style}"
        )
        return (
            f"{self.towns_per_style} towns of {self.side_m:g} m of each style "
            f"({', '.join(self.styles)}), {self.pairs_per_town} pairs a town; "
            f"to validate, one more town of each with {self.validation_pairs_per_style}"
            f"{test if self.test_styles else ''}"
        )


@dataclass(frozen=True)
class TownJob:
    """One town's share of the pairs."""

    style_name: str
    seed: int
    count: int
    side_m: float

    @property
    def folder(self) -> str:
        """Where its pictures go, below the root."""
        return f"{self.style_name}-{self.seed}"


def ensure_pairs(root: Path, plan: TownPlan | None = None, workers: int = 0) -> Path:
    """Render what is still missing below ``root`` and return its ``pairs.csv``.

    Interrupted, it continues town by town; the list appears only when every town is there.
    """
    for _ in render_pairs(root, plan, workers):
        pass
    return root / PAIRS_NAME


def render_pairs(root: Path, plan: TownPlan | None = None, workers: int = 0) -> Iterator[str]:
    """As :func:`ensure_pairs`, yielding each town's folder name as it is finished."""
    jobs = list(_list_jobs(plan or TownPlan()))
    header = f"synthetic towns, version {TOWN_VERSION}: {plan or TownPlan()}"
    pairs = root / PAIRS_NAME

    def is_whole() -> bool:
        return pairs.is_file() and read_made_by(pairs) == header

    if is_whole():
        return
    with lock(root, "crossview: rendering towns", wait=True, make_parents=True):
        if not is_whole():  # another process may have rendered them meanwhile
            yield from _render_missing(root, jobs, header, workers)


def _render_missing(
    root: Path, jobs: Sequence[TownJob], header: str, workers: int
) -> Iterator[str]:
    sweep(root)
    missing = [job for job in jobs if not (root / f"{job.folder}.{TOWN_VERSION}.csv").is_file()]
    count = workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(count, len(missing) or 1), mp_context=context) as pool:
        results = pool.map(_render_town, missing, [root] * len(missing))
        for job, _ in zip(missing, results, strict=True):
            yield job.folder
    rows = [(root / f"{job.folder}.{TOWN_VERSION}.csv").read_text(encoding="utf-8") for job in jobs]
    pairs = root / PAIRS_NAME
    atomic_write(pairs, ",".join(COLUMNS) + "\n" + "".join(rows))
    atomic_write(
        pairs.with_suffix(".made-by.txt"), header
    )  # last: the list is whole if it is there


def read_made_by(pairs: Path) -> str:
    """The note beside a list of rendered pairs; empty for any other list."""
    try:
        return pairs.with_suffix(".made-by.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def measure_synthetic_share(pictures: Sequence[Path], most: int = 64) -> float:
    """Share of rendered pictures in an even sample of up to ``most``; 0 if there are none.

    Their metadata say so, or the note in the folder that they were rendered into.
    """
    step = max(1, -(-len(pictures) // most))
    rendered = [
        is_synthetic_picture(path) or bool(read_made_by(path.parent.parent / PAIRS_NAME))
        for path in pictures[::step]
    ]
    return sum(rendered) / len(rendered) if rendered else 0.0


def _list_jobs(plan: TownPlan) -> Iterator[TownJob]:
    for number, name in enumerate(plan.styles):
        for town in range(plan.towns_per_style):
            yield TownJob(name, 100 * number + town, plan.pairs_per_town, plan.side_m)
        seed = FIRST_VALIDATION_SEED + 100 * number
        yield TownJob(name, seed, plan.validation_pairs_per_style, plan.side_m)
    for number, name in enumerate(plan.test_styles):
        seed = FIRST_TEST_SEED + 100 * number
        yield TownJob(name, seed, plan.test_pairs_per_style, plan.side_m)


def _render_town(job: TownJob, root: Path) -> None:
    """Render one town's pairs; its list is written last: if it is there, so are the pictures."""
    town = build_town(job.style_name, job.seed, job.side_m)
    folder = root / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    picture = render_orthophoto(town)
    drives = [start_drive(town, day) for day in range(DAYS)]
    rows = []
    for n, (east, south) in enumerate(_draw_places_inside(town, job.count)):
        place = town.site.latlon(east, south)
        turn = town.site.convergence_deg(place)
        shot = Shot(east, south, -turn, width_px=512, height_px=128, look=n)
        ground, aerial = f"{job.folder}/{n:04d}_ground.jpg", f"{job.folder}/{n:04d}_aerial.jpg"
        _save(root / ground, render_panorama(drives[n % DAYS], shot, (-45.0, 45.0)))
        centre = _save_crop(root / aerial, town, picture, (east, south))
        above = town.site.latlon(*centre)
        split = _choose_split(job.seed)
        rows.append([
            ground, aerial, split, "match", place.lat, place.lon, above.lat, above.lon, CELL_M,
            round(turn, 5), 0.0, 360.0, "panorama",
        ])  # fmt: skip
    wait_for_disk()
    atomic_write(root / f"{job.folder}.{TOWN_VERSION}.csv", _format_csv(rows))


def _choose_split(seed: int) -> str:
    if seed >= FIRST_TEST_SEED:
        return "test"
    return "val" if seed >= FIRST_VALIDATION_SEED else "train"


def _draw_places_inside(town: Town, count: int) -> Iterator[tuple[float, float]]:
    """Camera places whose aerial crop lies wholly on the map."""
    low = town.apron_cells * CELL_M + 0.5 * CROP_PX * CELL_M + CELL_M
    high = town.cells * CELL_M - low
    places = draw_camera_places(town, 4 * count + 100, "pairs")
    inside = ((low < places) & (places < high)).all(axis=1)
    for east, south in places[inside][:count]:
        yield float(east), float(south)


def _save_crop(
    path: Path, town: Town, picture: np.ndarray, at: tuple[float, float]
) -> tuple[float, float]:
    """Cut whole pixels around ``at`` and return the cut's true centre (east, south)."""
    first = [round(x / CELL_M) - town.apron_cells - CROP_PX // 2 for x in at]
    crop = picture[first[1] : first[1] + CROP_PX, first[0] : first[0] + CROP_PX]
    _save(path, crop)
    east, south = ((f + CROP_PX // 2 + town.apron_cells) * CELL_M for f in first)
    return east, south


def _save(path: Path, picture: np.ndarray) -> None:
    import simplejpeg

    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=92)
    atomic_write(path, mark_synthetic(jpeg), durable=False)


def _format_csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
