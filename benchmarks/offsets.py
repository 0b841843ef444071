"""Where in its tile a camera stands: the offset that `vigor-offset` regresses, on held-out towns.

    make bench NAME=offsets      about twenty minutes of one core, the first time

Towns are cut into tiles of 72 m, one every 36 m in both directions, as VIGOR's are: the tile that
has the camera in its central quarter is the match of a panorama, the three others that show it are
its near-misses. A small network is trained on towns of two styles, and asked for every panorama of
towns that it has not seen, of the same two styles. Measured: metres from the truth to the middle of
the first tile and to the regressed place in it; the same within the right tile, which leaves out
whether it is found; and the middle of what training saw (the mean offset), which is all that a head
that ignores its input could tell. Intervals are over towns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import harness
from crossview.arrays import I64
from crossview.assessment import AssessmentOptions, open_assessment
from crossview.evaluation.evaluation_record import Evaluation
from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.stats import cluster_interval
from crossview.worlds import town_pairs
from crossview.worlds.camera import (
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    start_drive,
)
from crossview.worlds.town import CELL_M, TOWN_VERSION, Town, build_town

STYLES = ("suburb", "terraces")
TILE_PX = 180  # 72 m
STEP_PX = TILE_PX // 2
TRAINING = (
    *("--method", "vigor-offset", "--no-pretrained", "--val-share", "0", "--device", "cpu"),
    *("--workers", "0", "--config", "backbone=test_resnet@8", "--config", "ground_px=[32,64]"),
    *("--config", "aerial_px=[32,32]", "--config", "elevation_deg=[-45,45]"),
    *("--config", "footprint_m=72", "--config", "hidden=128", "--config", "plain_epochs=0"),
    *("--config", "offset=1.0", "--config", "schedule=steps", "--config", "amp=false"),
    *("--batch", "16", "--lr", "0.003"),
)
WITHIN_M = (5, 10, 20)


@dataclass(frozen=True, kw_only=True)
class TiledTown:
    """A town to cut into tiles: so many panoramas; ``split`` of all its rows."""

    style: str
    seed: int
    panoramas: int
    split: str
    side_m: float


def main() -> None:
    """Make towns, train, ask, and print a table and one JSON line."""
    wanted = _arguments()
    towns = wanted.root / f"towns-{TOWN_VERSION}"
    seeds = range(wanted.towns)
    training = [
        TiledTown(style=s, seed=100 * n + seed, panoramas=wanted.panoramas, split="train",
                  side_m=wanted.side_m)
        for n, s in enumerate(STYLES) for seed in seeds
    ]  # fmt: skip
    run = wanted.root / f"run-{wanted.steps}"
    _render(towns / "train", training)
    _train(towns / "train", run, wanted.steps)
    records = []
    for number, style in enumerate(STYLES):
        for seed in range(wanted.held_out):
            town = TiledTown(
                style=style, seed=town_pairs.FIRST_TEST_SEED + 100 * number + seed,
                panoramas=wanted.asked, split="test", side_m=wanted.side_m,
            )  # fmt: skip
            folder = towns / f"{style}-{town.seed}"
            _render(folder, [town])
            records.append(_ask(run, folder))
    middle = _find_mean_camera_m(towns / "train")
    found = measure(records, middle)
    print("\n".join(_list_rows(found)))
    harness.report(
        name="offsets",
        ratios={},
        n=sum(len(record.queries.ids) for record in records),
        threads=1,
        medians={},
        town_version=TOWN_VERSION,
        towns=len(records),
        steps=wanted.steps,
        found=found,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("runs/offsets"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--towns", type=int, default=4, help="of each style to train on")
    parser.add_argument("--panoramas", type=int, default=200, help="of each of them")
    parser.add_argument("--held-out", type=int, default=3, help="towns of each style to ask")
    parser.add_argument("--asked", type=int, default=100, help="panoramas of each of them")
    parser.add_argument("--side-m", type=float, default=480.0)
    return parser.parse_args()


def _render(root: Path, towns: Sequence[TiledTown]) -> None:
    """Tiles and panoramas of ``towns`` below ``root`` with a pairs.csv, unless they are there."""
    jobs = (
        town_pairs.PairJob(f"{t.style}-{t.seed}", f"{TOWN_VERSION}-{t.panoramas}-{t.side_m:g}", t)
        for t in towns
    )
    header = f"synthetic towns in tiles, version {TOWN_VERSION}: {list(towns)}"
    for folder in town_pairs.render_jobs(root, jobs, render_tiles, header, workers=1):
        print(f"rendered {folder}", file=sys.stderr, flush=True)


def render_tiles(job: TiledTown, folder: str, root: Path) -> list[town_pairs.Row]:
    """The rows of one town: of each panorama its match and its three near-misses."""
    town = build_town(job.style, job.seed, job.side_m)
    picture, drive = render_orthophoto(town), start_drive(town)
    apron = town.apron_cells
    steps = (picture.shape[0] - TILE_PX) // STEP_PX + 1
    names: dict[tuple[int, int], str] = {}
    for row, column in product(range(steps), repeat=2):
        top, left = row * STEP_PX, column * STEP_PX
        names[row, column] = f"{folder}/tile_{row:02d}_{column:02d}.jpg"
        tile = picture[top : top + TILE_PX, left : left + TILE_PX]
        town_pairs.save_picture(root / names[row, column], tile)
    rows: list[town_pairs.Row] = []
    for n, (east, south) in enumerate(_draw_places(town, job.panoramas, steps)):
        place = town.site.latlon(east, south)
        turn = town.site.convergence_deg(place)
        shot = Shot(east, south, -turn, width_px=256, height_px=64, look=n)
        ground = f"{folder}/{n:04d}_ground.jpg"
        town_pairs.save_picture(root / ground, render_panorama(drive, shot, (-45.0, 45.0)))
        for relation, (row, column) in list_tiles(*_count_steps(east, south, apron)):
            middle = [(STEP_PX * at + TILE_PX / 2 + apron) * CELL_M for at in (column, row)]
            above = town.site.latlon(*middle)
            files = (ground, names[row, column])
            up_deg = town.site.convergence_deg(above)
            values = town_pairs.describe_pair(files, job.split, place, above, up_deg)
            rows.append((*values[:3], relation, *values[4:]))
    return rows


def _count_steps(east: float, south: float, apron: int) -> tuple[float, float]:
    """Row and column, in steps, at which a tile would have the camera in its middle."""
    row, column = ((x / CELL_M - apron - TILE_PX / 2) / STEP_PX for x in (south, east))
    return row, column


def list_tiles(row: float, column: float) -> Iterator[tuple[str, tuple[int, int]]]:
    """The four tiles that show a camera, and which of them is its match."""
    match = (round(row), round(column))
    corner = (int(np.floor(row)), int(np.floor(column)))
    for down, right in product((0, 1), repeat=2):
        tile = (corner[0] + down, corner[1] + right)
        yield "match" if tile == match else "ignore", tile


def _draw_places(town: Town, count: int, steps: int) -> Iterator[tuple[float, float]]:
    """Camera places all of whose four tiles lie on the map."""
    drawn = 0
    for east, south in draw_camera_places(town, 6 * count + 100, "tiles").tolist():
        inside = all(0 < x < steps - 1 for x in _count_steps(east, south, town.apron_cells))
        if inside and drawn < count:
            drawn += 1
            yield east, south


def _train(pairs: Path, run: Path, steps: int) -> None:
    """``crossview train``, from where it stopped."""
    command = [
        *(sys.executable, "-m", "crossview", "train", *TRAINING, "--steps", str(steps)),
        *("--data", f"pairs:{pairs / 'pairs.csv'}", "--out", str(run)),
        *("--cache", str(pairs.parent / "cache")),
    ]
    print(" ".join(command[2:]), file=sys.stderr, flush=True)
    subprocess.run(command, check=True)


def _ask(run: Path, town: Path) -> Evaluation:
    options = AssessmentOptions(data=f"pairs:{town / 'pairs.csv'}", workers=0, device="cpu")
    assessment = open_assessment(options, run, note=print, warn=print)
    ((_, record),) = assessment.measure(lambda title, done, total: None)
    return record


def _find_mean_camera_m(pairs: Path) -> tuple[float, float]:
    """Mean place of the camera in its tile, metres down and right, over the training rows."""
    from crossview.datasets.pair_lists import load

    table = load(pairs / "pairs.csv")["train"]
    down, right = np.array([table.find_camera_m(row) for row in range(len(table))]).mean(axis=0)
    return float(down), float(right)


def measure(
    records: Sequence[Evaluation], middle_m: tuple[float, float]
) -> dict[str, dict[str, float]]:
    """Each figure: its mean over towns, and the 95 % interval over them.

    ``middle_m``: the mean offset of training, metres down and right.
    """
    towns = [measure_town(record, middle_m) for record in records]
    found = {}
    for name in towns[0]:
        values = np.array([town[name] for town in towns])
        low, high = cluster_interval(values, np.arange(len(values)))
        found[name] = {"value": float(values.mean()), "low": float(low), "high": float(high)}
    return found


def measure_town(record: Evaluation, middle_m: tuple[float, float]) -> dict[str, float]:
    """The figures of one town; metres, percent."""
    queries = record.queries
    right, plain, regressed = queries.truth, queries.right_error_m, queries.right_offset_error_m
    if plain is None or regressed is None or queries.offset_error_m is None:
        raise SystemExit("The run regresses no offsets.")
    figures = {
        "R@1": 100.0 * float((queries.rank == 1).mean()),
        "R@10": 100.0 * float((queries.rank <= 10).mean()),
        "chance of R@10": 1000.0 / len(record.references.ids),
        "right tile: middle, m": float(plain.mean()),
        "right tile: mean offset of training, m": _mean_from(record, right, middle_m),
        "right tile: regressed, m": float(regressed.mean()),
        "right tile: regressed - middle, m": float((regressed - plain).mean()),
        "first tile: middle, m": float(queries.error_m.mean()),
        "first tile: regressed, m": float(queries.offset_error_m.mean()),
        "first tile: regressed - middle, m": float(
            (queries.offset_error_m - queries.error_m).mean()
        ),
    }
    for radius in WITHIN_M:
        figures[f"right tile: middle within {radius} m, %"] = 100.0 * float(
            (plain <= radius).mean()
        )
        figures[f"right tile: regressed within {radius} m, %"] = 100.0 * float(
            (regressed <= radius).mean()
        )
    return figures


def _mean_from(record: Evaluation, tile: I64, middle_m: tuple[float, float]) -> float:
    """Mean metres from the truth to one and the same point of each right tile."""
    down, right = middle_m
    metres = [
        measure_distance_m(
            LatLon(*truth),
            move_point(LatLon(*record.references.latlon[at]), east_m=right, north_m=-down),
        )
        for truth, at in zip(record.queries.truth_latlon, tile, strict=True)
    ]
    return float(np.mean(metres))


def _list_rows(found: dict[str, dict[str, float]]) -> Iterator[str]:
    yield "| figure | mean over towns | 95 % interval over towns |"
    yield "|---|---|---|"
    for name, figure in found.items():
        interval = f"[{figure['low']:.2f}, {figure['high']:.2f}]"
        yield f"| {name} | {figure['value']:.2f} | {interval} |"


if __name__ == "__main__":
    main()
