"""Training pairs from many towns: panoramas and the ground around them, as ``pairs.csv``."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crossview.arrays import U8
from crossview.files import atomic_write, sweep, wait_for_disk
from crossview.geo.points import LatLon
from crossview.locks import lock
from crossview.worlds.camera import (
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    start_drive,
)
from crossview.worlds.styles import SEEN_STYLES
from crossview.worlds.town import CELL_M, TOWN_VERSION, Town, build_town
from crossview.worlds.write import is_synthetic_picture, mark_synthetic

COLUMNS = (
    *("ground", "aerial", "split", "relation", "ground_lat", "ground_lon", "aerial_lat"),
    *("aerial_lon", "metres_per_px", "up_bearing_deg", "heading_deg", "fov_deg", "kind"),
)
PAIRS_NAME = "pairs.csv"
FIRST_VALIDATION_SEED, FIRST_TEST_SEED = 10_000, 20_000
OVER_EARTH = "worlds from "  # begins the note beside pairs whose aerial pictures are of Earth
CROP_PX = 260  # 104 m: a footprint of 80 m that may move by 12 m
Row = tuple[object, ...]  # of COLUMNS
STRIP_PX, ELEVATION_DEG = (512, 128), (-45.0, 45.0)
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
    header = f"synthetic towns, version {TOWN_VERSION}: {plan or TownPlan()}"
    jobs = (
        PairJob(job.folder, f"{TOWN_VERSION}-{job.count}-{job.side_m:g}", job)
        for job in _list_jobs(plan or TownPlan())
    )
    yield from render_jobs(root, jobs, _render_town, header, workers)


def count_cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class PairJob(NamedTuple):
    """One folder of pairs: its name, the version of what draws it, and what its renderer takes."""

    folder: str
    version: str
    task: Any

    @property
    def list_name(self) -> str:
        """Its own list of pairs. Written last: if it is there, so are the pictures."""
        return f"{self.folder}.{self.version}.csv"


def render_jobs(
    root: Path,
    jobs: Iterable[PairJob],
    render: Callable[[Any, str, Path], list[Row]],
    header: str,
    workers: int = 0,
) -> Iterator[str]:
    """Render what is missing of ``jobs`` below ``root``, yielding each folder that is finished.

    ``render(task, folder, root)`` writes the pictures of one job, in a process of its own, and
    returns its rows. The list of all comes last, and the note ``header`` beside it after that.
    """
    pairs = root / PAIRS_NAME

    def is_whole() -> bool:
        return pairs.is_file() and read_made_by(pairs) == header

    if is_whole():
        return
    with lock(root, "crossview: rendering pairs", wait=True, make_parents=True):
        if not is_whole():  # another process may have rendered them meanwhile
            yield from _render_missing(root, jobs, render, header, workers or count_cores())


def _render_missing(
    root: Path,
    jobs: Iterable[PairJob],
    render: Callable[[Any, str, Path], list[Row]],
    header: str,
    workers: int,
) -> Iterator[str]:
    sweep(root)
    lists: list[Path] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running: deque[tuple[str, Future[None]]] = deque()
        for job in jobs:
            lists.append(root / job.list_name)
            if lists[-1].is_file():
                continue
            running.append((job.folder, pool.submit(_render_job, job, render, root)))
            if len(running) >= 2 * workers:  # tasks may hold pictures: never all of them at once
                yield _wait_for(running.popleft())
        while running:
            yield _wait_for(running.popleft())
    pairs = root / PAIRS_NAME
    rows = (path.read_text(encoding="utf-8") for path in lists)
    atomic_write(pairs, ",".join(COLUMNS) + "\n" + "".join(rows))
    atomic_write(
        pairs.with_suffix(".made-by.txt"), header
    )  # last: the list is whole if it is there


def _wait_for(job: tuple[str, Future[None]]) -> str:
    job[1].result()
    return job[0]


def _render_job(job: PairJob, render: Callable[[Any, str, Path], list[Row]], root: Path) -> None:
    (root / job.folder).mkdir(parents=True, exist_ok=True)
    rows = render(job.task, job.folder, root)
    wait_for_disk()
    atomic_write(root / job.list_name, _format_csv(rows))


def read_made_by(pairs: Path) -> str:
    """The note beside a list of rendered pairs; empty for any other list."""
    try:
        return pairs.with_suffix(".made-by.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def measure_synthetic_share(pictures: Sequence[Path], most: int = 64) -> float:
    """Share of pictures of towns in an even sample of up to ``most``; 0 if there are none.

    Their metadata say so, or the note in the folder that they were rendered into. Pictures of
    worlds that were drawn over real orthophotos are of Earth, as far as can be seen from above.
    """
    step = max(1, -(-len(pictures) // most))
    rendered = [_is_of_town(path) for path in pictures[::step]]
    return sum(rendered) / len(rendered) if rendered else 0.0


def _is_of_town(picture: Path) -> bool:
    note = read_made_by(picture.parent.parent / PAIRS_NAME)
    if note.startswith(OVER_EARTH):
        return False
    return bool(note) or is_synthetic_picture(picture)


def _list_jobs(plan: TownPlan) -> Iterator[TownJob]:
    for number, name in enumerate(plan.styles):
        for town in range(plan.towns_per_style):
            yield TownJob(name, 100 * number + town, plan.pairs_per_town, plan.side_m)
        seed = FIRST_VALIDATION_SEED + 100 * number
        if plan.validation_pairs_per_style:
            yield TownJob(name, seed, plan.validation_pairs_per_style, plan.side_m)
    for number, name in enumerate(plan.test_styles):
        seed = FIRST_TEST_SEED + 100 * number
        yield TownJob(name, seed, plan.test_pairs_per_style, plan.side_m)


def _render_town(job: TownJob, folder: str, root: Path) -> list[Row]:
    """Render one town's pairs."""
    town = build_town(job.style_name, job.seed, job.side_m)
    picture = render_orthophoto(town)
    drives = [start_drive(town, day) for day in range(DAYS)]
    rows: list[Row] = []
    for n, (east, south) in enumerate(_draw_places_inside(town, job.count)):
        place = town.site.latlon(east, south)
        turn = town.site.convergence_deg(place)
        shot = Shot(east, south, -turn, width_px=STRIP_PX[0], height_px=STRIP_PX[1], look=n)
        apron = town.apron_cells
        crop, centre = cut_crop(picture, east - apron * CELL_M, south - apron * CELL_M)
        above = town.site.latlon(*(x + apron * CELL_M for x in centre))
        ground, aerial = name_pictures(folder, n)
        save_picture(root / ground, render_panorama(drives[n % DAYS], shot, ELEVATION_DEG))
        save_picture(root / aerial, crop)
        rows.append(describe_pair((ground, aerial), _choose_split(job.seed), place, above, turn))
    return rows


def name_pictures(folder: str, number: int) -> tuple[str, str]:
    """The files of a pair's two pictures below the root: ground, aerial."""
    return f"{folder}/{number:04d}_ground.jpg", f"{folder}/{number:04d}_aerial.jpg"


def describe_pair(
    files: tuple[str, str], split: str, place: LatLon, above: LatLon, up_bearing_deg: float
) -> Row:
    """The row of a pair whose panorama looks north and whose aerial picture is a crop of cells."""
    return (
        *files, split, "match", place.lat, place.lon, above.lat, above.lon, CELL_M,
        round(up_bearing_deg, 5), 0.0, 360.0, "panorama",
    )  # fmt: skip


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


def cut_crop(picture: U8, east_m: float, south_m: float) -> tuple[U8, tuple[float, float]]:
    """Cut whole pixels around a point, and the cut's true centre (east, south in m)."""
    left, top = (round(x / CELL_M) - CROP_PX // 2 for x in (east_m, south_m))
    crop = picture[top : top + CROP_PX, left : left + CROP_PX]
    return crop, ((left + CROP_PX // 2) * CELL_M, (top + CROP_PX // 2) * CELL_M)


def save_picture(path: Path, picture: U8, *, synthetic: bool = True) -> None:
    """Write a JPEG, marked as synthetic unless it is a real one."""
    import simplejpeg

    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=92)
    atomic_write(path, mark_synthetic(jpeg) if synthetic else jpeg, durable=False)


def _format_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
