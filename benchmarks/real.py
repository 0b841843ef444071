"""Models on real pairs, through index and locate: recalls, rank percentiles, chance, histogram.

    make bench NAME=real                                   pairs cut out of a town: it runs anywhere
    python -m benchmarks.real FOLDER --model MODEL ...     pairs.csv: each aerial picture is a place
    python -m benchmarks.real FOLDER --region IMAGERY ...  places.csv: all windows of that imagery

FOLDER must hold a note of its pictures' licence: LICENCE, LICENSE or README, with or without an
ending, that speaks of one, or the entry ``licence`` of pairs.json. docs/real-data.md describes the
lists and the figures. Nothing is trained or tuned here: what is measured is what a user gets.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from crossview.arrays import F64, U8
from crossview.datasets import pair_lists
from crossview.demo import HistogramEmbedder
from crossview.errors import BadData, BadImagery, CrossviewError
from crossview.files import atomic_write
from crossview.geo.points import LatLon, measure_distances_m, move_point
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import open_sources
from crossview.index.build import build_index, open_job
from crossview.index.index_options import IndexOptions
from crossview.index.store import Index
from crossview.lists import Folder, read_table
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.hints import Hints, explain_unusable_heading
from crossview.localization.locate import locate_many
from crossview.model import Embedder, Model, open_model
from crossview.stats import cluster_intervals
from crossview.views.decode import Photo, load_photo, make_photo, read_picture_size
from crossview.views.lens import FLAT_LIMIT_DEG, FOV_RANGE_DEG

RANKS = (1, 5, 10)
FIELDS_DEG = (360.0, 180.0, 90.0)  # that panoramas are cut to
WHOLE_DEG = 360.0
HEADING_DEG = (-360.0, 360.0)
Right = Callable[["Shot"], tuple[int, set[int]]]  # the right window's row, and those within 25 m
CUT_PX, CUT_ASPECT = 640, 4 / 3  # of photos that are cut out of panoramas
APART_M = 2_000.0  # of candidates, whose true places do not matter: none merges with another
ORIGIN = LatLon(1.0, 1.0)
NOTES = re.compile(r"(licen[cs]e|readme|copying)(\.\w+)?", re.IGNORECASE)
SPOKEN = re.compile(r"licen[cs]e|licen[cs]ed|public domain|CC0|CC BY", re.IGNORECASE)
MOST_NOTE = 500  # characters of a licence note that a result repeats
BATCH = 64  # pictures whose pixels are held at a time


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture to be located, and what is known of it."""

    file: Path
    heading_deg: float  # of its middle; NaN: unknown
    fov_deg: float  # NaN: as the file says, or assumed
    panorama: bool
    target: int = -1  # the candidate that it shows
    place: LatLon | None = None
    cluster: str = ""  # of pictures that are not independent


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Aerial pictures, each of them a place of its own."""

    files: tuple[Path, ...]
    metres_per_px: F64
    up_bearing_deg: F64


# What a folder holds.


def read_licence(folder: Path) -> str:
    """What a folder says of the licence of its pictures: the line, or the file, that does.

    Raises :class:`BadData` where it says nothing: figures of pictures that nobody may use cannot be
    published, and it is too late to ask when they are.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and NOTES.fullmatch(path.name):
            text = path.read_text(encoding="utf-8", errors="replace")
            is_readme = path.name.lower().startswith("readme")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            lines = [line for line in lines if not is_readme or SPOKEN.search(line)]
            if lines:
                return f"{path.name}: {' '.join(lines)[:MOST_NOTE]}"
    note = folder / "pairs.json"
    if note.is_file() and (licence := json.loads(note.read_text("utf-8")).get("licence")):
        return f"pairs.json: {licence}"
    raise BadData(
        f"{folder} says nothing of the licence of its pictures.\n"
        "Write whose they are and under which licence into a file LICENCE in it, and run again."
    )


def read_pairs(folder: Path, width_m: float | None = None) -> tuple[list[Shot], Candidates]:
    """The ground pictures and the candidates of ``pairs.csv``.

    With a column ``metres_per_px`` it is the list that training takes, of which every split is
    read. Else columns ground, aerial, heading_deg (or compass_deg) and fov_deg (both optional), and
    ``width_m`` is the ground metres across every aerial picture.
    """
    path = folder / "pairs.csv"
    if width_m is None:
        return _read_training_pairs(path)
    rows = read_table(path, needed=("ground", "aerial"), what="list of pairs")
    names, shots, aerial = Folder(folder), [], {}
    for row in rows:
        heading = row.number("heading_deg", *HEADING_DEG)
        heading = row.number("compass_deg", *HEADING_DEG) if math.isnan(heading) else heading
        fov = row.number("fov_deg", *FOV_RANGE_DEG)
        target = aerial.setdefault(names.file(row.text("aerial")), len(aerial))
        file = names.file(row.text("ground"))
        shots.append(_make_shot(file, heading, fov, fov == WHOLE_DEG, target))
    scales = [width_m / read_picture_size(file)[1] for file in aerial]
    return shots, Candidates(
        files=tuple(aerial),
        metres_per_px=np.array(scales),
        up_bearing_deg=np.zeros(len(aerial)),
    )


def _read_training_pairs(path: Path) -> tuple[list[Shot], Candidates]:
    shots: list[Shot] = []
    files: list[Path] = []
    scales: list[float] = []
    ups: list[float] = []
    for table in pair_lists.load(path).values():
        for ground, aerial in table.pairs:
            shot = _make_shot(
                table.ground[ground],
                float(table.heading_deg[ground]),
                float(table.fov_deg[ground]),
                not table.perspective[ground],
                len(files) + int(aerial),
            )
            lat, lon = map(float, table.ground_latlon[ground])
            shots.append(shot if math.isnan(lat) else replace(shot, place=LatLon(lat, lon)))
        files += table.aerial
        scales += table.metres_per_px.tolist()
        ups += table.up_bearing_deg.tolist()
    return shots, Candidates(
        files=tuple(files), metres_per_px=np.array(scales), up_bearing_deg=np.array(ups)
    )


def _make_shot(file: Path, heading: float, fov: float, panorama: bool, target: int) -> Shot:
    return Shot(
        file=file,
        heading_deg=heading,
        fov_deg=WHOLE_DEG if panorama and math.isnan(fov) else fov,
        panorama=panorama,
        target=target,
        cluster=str(file),
    )


def read_places(folder: Path) -> list[Shot]:
    """The pictures of ``places.csv``: file, lat, lon; heading_deg, fov_deg and cluster if known."""
    shots = []
    names = Folder(folder)
    for row in read_table(folder / "places.csv", needed=("file", "lat", "lon"), what="places"):
        fov = row.number("fov_deg", *FOV_RANGE_DEG)
        shots.append(
            Shot(
                file=names.file(row.text("file")),
                heading_deg=row.number("heading_deg", *HEADING_DEG),
                fov_deg=fov,
                panorama=fov == WHOLE_DEG or row.text("kind") == "panorama",
                place=LatLon(*row.place()),
                cluster=row.text("cluster") or row.text("file"),
            )
        )
    return shots


# What is looked for.


def cut_panorama(pixels: U8, fov_deg: float, turn_deg: float) -> U8:
    """The part [h, w, 3] of a panorama [H, W, 3] of square pixels, its middle at ``turn_deg``.

    Up to 170 degrees a pinhole camera's photo, level, 4:3 or as high as the panorama allows; beyond
    a band of whole columns.
    """
    import cv2

    height, width = pixels.shape[:2]
    if fov_deg > FLAT_LIMIT_DEG:
        first = round((turn_deg - fov_deg / 2.0) / 360.0 * width + width / 2.0)
        columns = (first + np.arange(round(width * fov_deg / 360.0))) % width
        return np.ascontiguousarray(pixels[:, columns])
    across = math.tan(math.radians(fov_deg / 2.0))
    steepest = math.radians(min(height / width * 180.0, 80.0))
    up = min(across / CUT_ASPECT, math.tan(steepest))
    rows = round(CUT_PX * up / across)
    x = ((np.arange(CUT_PX) + 0.5) / CUT_PX * 2.0 - 1.0)[None, :] * across
    y = (1.0 - (np.arange(rows) + 0.5) / rows * 2.0)[:, None] * up
    azimuth = np.degrees(np.arctan(x)) + turn_deg + 0.0 * y
    elevation = np.degrees(np.arctan2(y, np.hypot(1.0, x)))
    column = (azimuth / 360.0 + 0.5) % 1.0 * width - 0.5
    row = height / 2.0 - elevation / 360.0 * width - 0.5
    around = cv2.copyMakeBorder(pixels, 0, 0, 1, 1, cv2.BORDER_WRAP)
    return np.asarray(
        cv2.remap(
            around, (column + 1.0).astype(np.float32), row.astype(np.float32),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )  # fmt: skip


def show(shot: Shot, fov_deg: float, seed: int) -> tuple[Photo, Shot]:
    """The picture as it is looked for at a field of view, and what is known of that.

    A panorama is cut about a direction of its own; photos stay as they are.
    """
    photo = load_photo(shot.file)
    if not shot.panorama or fov_deg >= WHOLE_DEG:
        return photo, shot
    turn = float(np.random.default_rng([seed, *shot.file.name.encode()]).uniform(-180.0, 180.0))
    pixels = cut_panorama(photo.pixels, fov_deg, turn)
    cut = replace(make_photo(pixels, str(shot.file)), gps=None)
    return cut, replace(
        shot, fov_deg=fov_deg, heading_deg=(shot.heading_deg + turn) % 360.0, panorama=False
    )


def list_fields(shots: Sequence[Shot], wanted: Sequence[float]) -> tuple[float, ...]:
    """The fields of view to measure; photos alone are measured as they are (NaN)."""
    return tuple(wanted) if any(shot.panorama for shot in shots) else (math.nan,)


# Measuring.


def index_candidates(candidates: Candidates, embedder: Embedder, out: Path) -> tuple[Index, F64]:
    """An index of one window in the middle of every candidate, and the candidate [N] of each.

    They are given places of their own, two kilometres apart. Raises :class:`BadImagery` for those
    that are smaller than the model's footprint, or of one colour.
    """
    side = math.ceil(math.sqrt(len(candidates.files)))
    places = [
        move_point(ORIGIN, east_m=APART_M * (n % side), north_m=APART_M * (n // side))
        for n in range(len(candidates.files))
    ]
    columns = ("file", "lat", "lon", "metres_per_px", "up_bearing_deg")
    rows = [
        (file.resolve(), place.lat, place.lon, scale, up)
        for file, place, scale, up in zip(
            candidates.files, places, candidates.metres_per_px.tolist(),
            candidates.up_bearing_deg.tolist(), strict=True,
        )
    ]  # fmt: skip
    listed = out.with_suffix(".csv")
    atomic_write(listed, write_csv(columns, rows))
    index = index_region([listed], embedder, out, stride_m=APART_M)
    lat, lon = (np.array([getattr(p, name) for p in places]) for name in ("lat", "lon"))
    centres = [index.footprint(row).centre for row in range(index.count)]
    owner = np.array([int(np.argmin(measure_distances_m(here, lat, lon))) for here in centres])
    if missing := sorted(set(range(len(places))) - set(owner.tolist())):
        raise BadImagery(
            f"{len(missing)} aerial pictures give no window of "
            f"{index.manifest.footprint_m:g} m, such as {candidates.files[missing[0]]}: they are "
            "too small, or of one colour.\nCheck their metres per pixel, or leave them out."
        )
    return index, owner


def index_region(
    sources: Sequence[Path], embedder: Embedder, out: Path, stride_m: float | None = None
) -> Index:
    """Index imagery as ``crossview index`` does, whatever kind of matcher ``embedder`` is."""
    options = IndexOptions(demo_only=True, allow_coarse=True, stride_m=stride_m)
    if isinstance(embedder, Model):
        with open_job(sources, embedder, options, SourceOptions()) as job:
            return build_index(job.imagery, embedder, out, options=job.options)
    with open_sources(list(sources)) as imagery:
        return build_index(imagery, embedder, out, options=options)


def rank(
    index: Index,
    embedder: Embedder,
    shots: Sequence[Shot],
    fov_deg: float,
    known: bool,
    right: Right,
) -> F64:
    """Per picture: how many windows beat the right one (ties by halves), and rank of its place.

    ``right`` gives the row of the right window of a shot, and the rows within 25 m of the truth.
    [n, 2]; the second is that of the first place within 25 m among the places listed, or infinite.
    """
    found = []
    for start in range(0, len(shots), BATCH):
        pictures, seen = zip(*(show(s, fov_deg, 0) for s in shots[start : start + BATCH]),
                             strict=True)  # fmt: skip
        hints = [
            Hints(
                fov_deg=None if math.isnan(shot.fov_deg) else shot.fov_deg,
                heading_deg=shot.heading_deg if known else None,
                ignore_direction=True,
                places=max(RANKS),
            )
            for shot in seen
        ]
        for shot, answer in zip(seen, locate_many(index, embedder, pictures, hints), strict=True):
            row, near = right(shot)
            scores = np.asarray(answer.scores, np.float64)
            better = (scores > scores[row]).sum() + ((scores == scores[row]).sum() - 1) / 2.0
            ranks = [place.rank for place in answer.places if place.window in near]
            found.append((better, min(ranks, default=math.inf)))
    return np.array(found)


def summarise(
    found: F64,
    rivals: int,
    clusters: Sequence[str],
    *,
    by_place: bool,
    first: F64 | None = None,
) -> dict[str, Any]:
    """Figures of one condition: R@k and the mean rank percentile with intervals over clusters.

    ``found`` of :func:`rank`; ``rivals``: other windows. The percentile is 0 where nothing beats
    the right window and 100 where all do; chance is 50. ``first``: by which share of
    its rivals each picture was beaten with another matcher; ``gain``: by how many per cent less.
    """
    beaten = found[:, 0] / rivals
    ranks = found[:, 1] if by_place else found[:, 0] + 1.0
    columns = np.stack([beaten, *((ranks <= k).astype(float) for k in RANKS)], axis=1)
    low, high = cluster_intervals(columns, clusters)
    gain: dict[str, Any] = {}
    if first is not None:
        less = first - beaten
        ends = cluster_intervals(less[:, None], clusters)
        gain["gain"] = round(100.0 * float(less.mean()), 2)
        gain["gain_interval"] = [round(100.0 * float(x[0]), 2) for x in ends]
    owners = np.unique(np.asarray(clusters), return_inverse=True)[1]
    means = 100.0 * np.array([beaten[owners == n].mean() for n in range(owners.max() + 1)])
    error = float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else math.nan
    return {
        "n": len(found),
        "clusters": len(means),
        "percentile": round(100.0 * float(beaten.mean()), 2),
        "standard_error": round(error, 2),
        "percentile_interval": [round(100.0 * float(x[0]), 2) for x in (low, high)],
        **{
            f"recall_at_{k}": round(float(columns[:, n].mean()), 4)
            for n, k in enumerate(RANKS, 1)
        },
        "recall_at_1_interval": [round(float(low[1]), 4), round(float(high[1]), 4)],
        **gain,
    }  # fmt: skip


def measure(  # noqa: PLR0913 - all that figures depend on
    index: Index,
    embedder: Embedder,
    shots: Sequence[Shot],
    fields: Sequence[float],
    right: Right,
    *,
    by_place: bool,
    first: dict[str, F64],
) -> dict[str, Any]:
    """Figures of a matcher by condition, such as ``90, heading known``; None: it cannot use one.

    ``first`` holds the shares of :func:`summarise` of the first matcher; it fills them in.
    """
    figures: dict[str, Any] = {}
    for fov in fields:
        name = "as they are" if math.isnan(fov) else f"{fov:g}"
        some = [shot for shot in shots if math.isnan(fov) or shot.panorama]
        for known in (True, False):
            chosen = [shot for shot in some if not known or not math.isnan(shot.heading_deg)]
            if not chosen:
                continue
            condition = f"{name}, heading {'known' if known else 'unknown'}"
            if known and explain_unusable_heading(embedder.info, WHOLE_DEG):
                figures[condition] = None
                continue
            found = rank(index, embedder, chosen, fov, known, right)
            figures[condition] = summarise(
                found,
                max(1, index.count - 1),
                [shot.cluster for shot in chosen],
                by_place=by_place,
                first=first.get(condition),
            )
            first.setdefault(condition, found[:, 0] / max(1, index.count - 1))
    return figures


def measure_pairs(
    shots: Sequence[Shot],
    candidates: Candidates,
    matchers: Mapping[str, Embedder],
    fields: Sequence[float],
) -> dict[str, Any]:
    """Every matcher on pictures among candidates, of which each is one place."""
    table: dict[str, Any] = {}
    first: dict[str, F64] = {}
    with tempfile.TemporaryDirectory() as work:
        for n, (name, embedder) in enumerate(matchers.items()):
            index, owner = index_candidates(candidates, embedder, Path(work) / f"{n}.cvx")
            rows = {int(candidate): row for row, candidate in enumerate(owner)}

            def right(shot: Shot, rows: dict[int, int] = rows) -> tuple[int, set[int]]:
                return rows[shot.target], {rows[shot.target]}

            table[name] = measure(
                index, embedder, shots, fields, right, by_place=False, first=first
            )
            _tell(name, table[name])
    count = len(candidates.files)
    table["chance"] = {f"recall_at_{k}": round(min(1.0, k / count), 4) for k in RANKS}
    table["chance"]["percentile"] = 50.0
    return table


def measure_region(
    shots: Sequence[Shot],
    sources: Sequence[Path],
    matchers: Mapping[str, Embedder],
    fields: Sequence[float],
) -> dict[str, Any]:
    """Every matcher on pictures among all windows of imagery.

    The right window is the one whose centre is nearest to the truth; recalls count places within
    25 m of it among the first k, as ``locate --truth`` does.
    """
    table: dict[str, Any] = {}
    first: dict[str, F64] = {}
    with tempfile.TemporaryDirectory() as work:
        for n, (name, embedder) in enumerate(matchers.items()):
            index = index_region(sources, embedder, Path(work) / f"{n}.cvx")

            def right(shot: Shot, index: Index = index) -> tuple[int, set[int]]:
                assert shot.place is not None
                off = measure_distances_m(shot.place, index.lat, index.lon)
                return int(np.argmin(off)), set(np.flatnonzero(off <= RIGHT_WITHIN_M).tolist())

            _require_covered(shots, index)
            table[name] = measure(index, embedder, shots, fields, right, by_place=True, first=first)
            table[name]["windows"] = index.count
            _tell(name, table[name])
            shares = [len(right(shot)[1]) / index.count for shot in shots]
    table["chance"] = {"percentile": 50.0, "recall_at_1": round(float(np.mean(shares)), 5)}
    return table


def _require_covered(shots: Sequence[Shot], index: Index) -> None:
    """Refuse pictures that were taken outside of the imagery: they have no right window."""
    for shot in shots:
        if shot.place is None:
            raise BadData(f"{shot.file}: where it was taken is unknown; a region needs it.")
        nearest = float(measure_distances_m(shot.place, index.lat, index.lon).min())
        if nearest > RIGHT_WITHIN_M:
            raise BadData(
                f"{shot.file} was taken {nearest:.0f} m from the nearest window of the imagery.\n"
                "Leave it out, or add the imagery of its place."
            )


def _tell(name: str, figures: dict[str, Any]) -> None:
    for condition, one in figures.items():
        if isinstance(one, dict):
            recalls = "/".join(f"{one[f'recall_at_{k}']:.0%}" for k in RANKS)
            print(
                f"{name:20} {condition:28} percentile {one['percentile']:5.1f} "
                f"+- {one['standard_error']:.1f}, R@1/5/10 {recalls}, n {one['n']}",
                file=sys.stderr,
                flush=True,
            )


def open_matchers(models: Sequence[str], *, histogram: bool = True) -> dict[str, Embedder]:
    """Models by the names or folders given, and the histogram matcher of the first one's views."""
    matchers: dict[str, Embedder] = {}
    for model in models:
        matchers[Path(model).name if Path(model).exists() else model] = open_model(model)
    if histogram:
        matchers["colour histogram"] = HistogramEmbedder(next(iter(matchers.values())).info)
    return matchers


# Pairs that are always at hand.


def write_town_pairs(folder: Path, count: int = 24, seed: int = 20_900) -> None:
    """Panoramas of a town, the aerial picture around each of them, and whose they are."""
    from PIL import Image

    from crossview.worlds import camera
    from crossview.worlds.camera import render_orthophoto
    from crossview.worlds.town import CELL_M, build_town

    town = build_town("suburb", seed, 640.0)
    above, drive = render_orthophoto(town), camera.start_drive(town)
    half = round(44.0 / CELL_M)
    rows = []
    for n, (east_m, south_m) in enumerate(camera.draw_camera_places(town, count, "pairs")):
        shot = camera.Shot(east_m, south_m, heading_deg=15.0 * n, look=n)
        column, row = (round(x / CELL_M) - town.apron_cells for x in (east_m, south_m))
        tile = above[row - half : row + half, column - half : column + half]
        for name, pixels in (("ground", camera.render_panorama(drive, shot)), ("aerial", tile)):
            Image.fromarray(pixels).save(folder / f"{name}-{n}.png")
        rows.append((f"ground-{n}.png", f"aerial-{n}.png", CELL_M, shot.heading_deg, 360.0))
    columns = ("ground", "aerial", "metres_per_px", "heading_deg", "fov_deg")
    atomic_write(folder / "pairs.csv", write_csv(columns, rows))
    atomic_write(folder / "LICENCE", "Apache-2.0, as crossview, which rendered every picture\n")


def write_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A list with a header, as text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and end with one JSON line."""
    wanted = _read_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as work:
            folder = wanted.folder
            if folder is None:
                folder = Path(work)
                write_town_pairs(folder)
            _run(wanted, folder)
    except CrossviewError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


def _run(wanted: argparse.Namespace, folder: Path) -> None:
    licence = read_licence(folder)
    matchers = open_matchers(wanted.model or ["town"], histogram=not wanted.no_histogram)
    if wanted.region:
        shots = read_places(folder)
        fields = list_fields(shots, wanted.fov or FIELDS_DEG)
        table = measure_region(shots, wanted.region, matchers, fields)
    else:
        shots, candidates = read_pairs(folder, wanted.width_m)
        fields = list_fields(shots, wanted.fov or FIELDS_DEG)
        table = measure_pairs(shots, candidates, matchers, fields)
    report(wanted, table, licence, len(shots), "real")


def report(
    wanted: argparse.Namespace, table: dict[str, Any], licence: str, n: int, name: str
) -> None:
    """Write the table where it is wanted, and end with one JSON line."""
    command = f"python -m benchmarks.{name} {' '.join(wanted.written)}".rstrip()
    result = {"command": command, "licence": licence, "pictures": n, "table": table}
    if wanted.out is not None:
        atomic_write(wanted.out, json.dumps(result, indent=1) + "\n")
    first = next(iter(table))
    figures = [c for c, one in table[first].items() if isinstance(one, dict)]
    medians = {f"{m} {c}": table[m][c]["percentile"] for m in table if m != "chance"
               for c in figures if table[m].get(c)}  # fmt: skip
    worse = {f"{first}_vs_chance": 50.0 / max(table[first][figures[0]]["percentile"], 0.01)}
    harness.report(
        name=name, ratios=worse, n=n, threads=1, medians=medians, licence=licence, table=table
    )


def _read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of pairs.csv, or places.csv")
    add_options(parser)
    parser.add_argument("--region", type=Path, nargs="+", help="imagery whose windows are searched")
    parser.add_argument("--width-m", type=float, help="metres across aerial pictures")
    return read_options(parser, arguments)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of whoever measures models."""
    parser.add_argument("--model", action="append", help="a name or folder; may be repeated")
    parser.add_argument("--fov", type=float, action="append", help="to cut panoramas to")
    parser.add_argument("--no-histogram", action="store_true")
    parser.add_argument("--out", type=Path, help="a JSON file for the table")


def read_options(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """The options, and how they were written."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = parser.parse_args(given)
    wanted.written = given
    return wanted


if __name__ == "__main__":
    sys.exit(main())
