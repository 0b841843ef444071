"""What gathered pairs bring: a town of an unseen style, before and after adapting with 0 to 300.

    make bench NAME=region_curve                          hours: 8 towns, 3 adaptations each
    python -m benchmarks.region_curve --root FOLDER       the same; stopped, it goes on there
    python -m benchmarks.region_curve --root FOLDER --tiny    whether it runs; figures mean nothing

Each town stands for a region. Its aerial picture is the imagery, its pictures are the street photos
(half panoramas, half photos of 90 degrees, true headings). Those north of the line of ``adapt`` may
be trained on; those south of it, a window apart, are asked among all windows of the town. FOLDER
holds what was rendered and ``curve.jsonl``, a line for every finished town and number of pairs.
Intervals are over towns.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from crossview import adaptation
from crossview.adaptation import (
    KEPT_SHARE,
    KNOWN_CONDITIONS,
    AdaptOptions,
    KnownPhotoList,
    adapt,
    measure_known,
    read_known_photos,
    survey_region,
)
from crossview.files import append_lines, atomic_write, read_lines
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import cut_placed, place_windows
from crossview.index.build import build_index
from crossview.index.index_options import IndexOptions
from crossview.index.store import Index
from crossview.model import Model, open_model
from crossview.region_model import divide_photos, group_by_kind
from crossview.stats import cluster_interval
from crossview.worlds.styles import UNSEEN_STYLE
from crossview.worlds.town_pairs import COLUMNS, FIRST_TEST_SEED, TownPlan, save_picture

FIRST_SEED = FIRST_TEST_SEED + 900
PAIRS = (0, 100, 300)
RESULTS_NAME = "curve.jsonl"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How large the experiment is."""

    towns: int = 8
    pairs: tuple[int, ...] = PAIRS
    pictures: int = 400  # of each kind in a town
    side_m: float = 900.0
    stride_m: float = 20.0
    minutes: float = 40.0


TINY = Curve(towns=2, pairs=(0, 20), pictures=40, side_m=420.0, stride_m=30.0, minutes=5.0)


def main() -> None:
    """Measure what is missing, then print the table and one JSON line."""
    wanted = _arguments()
    curve = TINY if wanted.tiny else Curve(towns=wanted.towns, minutes=wanted.minutes)
    if wanted.tiny:
        _shrink()
    with tempfile.TemporaryDirectory() as temporary:
        root = wanted.root or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        for line in measure_missing(root, curve, wanted.model):
            append_lines(root / RESULTS_NAME, [line], durable=True)
        found = read_lines(root / RESULTS_NAME)[0]
    found = [line for line in found if line["size"] == describe(curve, wanted.model)]
    figures = summarise(found)
    print_table(figures)
    towns = len({line["town"] for line in found})
    harness.report(
        name="region_curve", ratios={}, n=towns, threads=wanted.threads, medians={},
        style=UNSEEN_STYLE, figures=figures, **describe(curve, wanted.model),
    )  # fmt: skip


def describe(curve: Curve, model: str) -> dict[str, Any]:
    """What figures depend on; lines of other sizes in one file are left alone."""
    return {
        "model": model,
        "pictures": curve.pictures,
        "side_m": curve.side_m,
        "stride_m": curve.stride_m,
        "minutes": curve.minutes,
    }


def measure_missing(root: Path, curve: Curve, model: str) -> Iterator[dict[str, Any]]:
    """A line for each town and number of pairs that the file does not hold yet."""
    path = root / RESULTS_NAME
    lines = read_lines(path)[0] if path.is_file() else []
    size = describe(curve, model)
    done = {(line["town"], line["pairs"]) for line in lines if line["size"] == size}
    for seed in range(FIRST_SEED, FIRST_SEED + curve.towns):
        place = _towns.Place("curve", UNSEEN_STYLE, seed, curve.pictures, curve.side_m)
        missing = [count for count in curve.pairs if (place.name, count) not in done]
        if not missing:
            continue
        folder = _towns.render(root, place)
        base = open_model(model)
        train, test = divide_town(folder, curve.pairs[-1], seed)
        before = locate(folder, base, test, curve.stride_m)
        for count in missing:
            print(f"{place.name}: {count} pairs", file=sys.stderr, flush=True)
            out = folder / f"adapted-{count}-{curve.minutes:g}"
            options = AdaptOptions(
                sources=(folder / "aerial.tif",),
                out=out,
                model=model,
                pairs=write_pairs(folder, train, count) if count else None,
                photos=train.paths[:count],
                minutes=curve.minutes,
                seed=seed,
            )
            outcome = adapt(options, lambda *_: None, lambda text: print(text, file=sys.stderr))
            after = locate(folder, open_model(str(out)), test, curve.stride_m)
            yield {
                "town": place.name,
                "pairs": count,
                "size": size,
                "kept": outcome.kept,
                "steps": outcome.plan["steps"],
                "before": before,
                "after": after,
            }


def divide_town(folder: Path, most: int, seed: int) -> tuple[KnownPhotoList, KnownPhotoList]:
    """Pictures to train on, kinds mixed in a drawn order, and pictures to ask."""
    photos = read_known_photos(folder / "places.csv")
    lat, lon = np.array([(place.lat, place.lon) for place in photos.places]).T
    with open_sources([folder / "aerial.tif"]) as imagery:
        line = survey_region(imagery, KEPT_SHARE).line_lat
        placed = place_windows(imagery, lat, lon, adaptation.SIDE_M)
    parts = divide_photos(lat, lon, line, gap_m=adaptation.SIDE_M)
    whole = np.array([bool(windows) for windows in placed])
    rows = np.flatnonzero(parts.adapting & whole)
    rows = np.random.default_rng(seed).permutation(rows)
    if len(rows) < most:
        raise RuntimeError(f"{folder} has {len(rows)} pictures to train on, and {most} are wanted.")
    asked = np.flatnonzero(parts.calibrating | parts.testing)
    return photos.take(rows), photos.take(asked)


def write_pairs(folder: Path, photos: KnownPhotoList, count: int) -> Path:
    """The first ``count`` pictures with the ground around them, as pairs.csv."""
    out = folder / f"pairs-{count}"
    out.mkdir(exist_ok=True)
    lat, lon = np.array([(place.lat, place.lon) for place in photos.places[:count]]).T
    rows: list[Sequence[object]] = [COLUMNS]
    with open_sources([folder / "aerial.tif"]) as imagery:
        for n, windows in enumerate(place_windows(imagery, lat, lon, adaptation.SIDE_M)):
            window = cut_placed(windows[0])
            if window is None:
                raise RuntimeError(f"{folder}: no ground around {photos.paths[n]}.")
            save_picture(out / f"{n:04d}.jpg", window.pixels)
            fov = float(photos.fov_deg[n])
            rows.append((
                photos.paths[n].resolve(), f"{n:04d}.jpg", "train", "match", lat[n], lon[n],
                window.lat, window.lon, window.metres_per_px, window.up_bearing_deg,
                photos.heading_deg[n], fov, "panorama" if fov >= 360.0 else "perspective",
            ))  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic_write(out / "pairs.csv", text.getvalue())
    return out / "pairs.csv"


def locate(
    folder: Path, model: Model, photos: KnownPhotoList, stride_m: float
) -> dict[str, dict[str, float]]:
    """Share within 25 m by kind of picture and condition, and how many were asked."""
    path = folder / f"{model.fingerprint[:12]}-{stride_m:g}m.cvx"
    if path.exists():
        index = Index.open(path)
    else:
        options = IndexOptions(stride_m=stride_m, demo_only=True)
        with open_sources([folder / "aerial.tif"]) as imagery:
            index = build_index(imagery, model, path, options=options)
    found: dict[str, dict[str, float]] = {}
    for kind, rows in group_by_kind(photos):
        measured = measure_known(
            index, model, photos.take(rows), lambda text: None, lambda *_: None, KNOWN_CONDITIONS
        )
        for condition, hits in measured.hits.items():
            key = f"{kind}, {condition}"
            found[key] = {"within_25m": float(hits.near.mean()), "n": len(hits.near)}
    return found


def summarise(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over towns with 95 % intervals over towns: before, after, and the gain, by pairs."""
    figures: dict[str, dict[str, Any]] = {}
    for key in sorted({key for line in lines for key in line["after"]}):
        for count in sorted({line["pairs"] for line in lines}):
            some = [line for line in lines if line["pairs"] == count]
            before, after = (
                np.array([line[when][key]["within_25m"] for line in some])
                for when in ("before", "after")
            )
            figures[f"{key}, {count} pairs"] = {
                "towns": len(some),
                "before": _interval(before),
                "after": _interval(after),
                "gain": _interval(after - before),
                "kept": sorted(line["kept"] for line in some),
            }
    return figures


def _interval(values: Any) -> list[float]:
    """Mean, low and high in percent; of one town there is no interval."""
    low, high = (
        cluster_interval(values, np.arange(len(values)))
        if len(values) > 1
        else (float("nan"), float("nan"))
    )
    return [round(100.0 * value, 2) for value in (float(np.mean(values)), low, high)]


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    """Markdown, for docs/my-region.md."""
    print("| | towns | before | after | gain |\n|---|---|---|---|---|")
    for name, row in figures.items():
        cells = ("{:.1f} ({:.1f} to {:.1f})".format(*row[n]) for n in ("before", "after", "gain"))
        print(f"| {name} | {row['towns']} | {' | '.join(cells)} |")


def _shrink() -> None:
    """As few worlds and steps as can be: whether it runs."""
    adaptation.TOWNS = TownPlan(
        styles=("suburb",), towns_per_style=1, pairs_per_town=24, validation_pairs_per_style=0,
        side_m=300.0,
    )  # fmt: skip
    adaptation.PAIRS_PER_HA, adaptation.LEAST_QUERIES = (4.0, 4.0), 8
    adaptation.MOST_STEPS = 12
    adaptation.CANDIDATES = (adaptation.GIVEN, adaptation.TUNED)
    adaptation.time_network = lambda base: (0.1, 0.001)
    adaptation.open_base = _open_small(adaptation.open_base)


def _open_small(open_base: Any) -> Any:
    """A base whose batches few pairs fill."""

    def open_with_small_batch(*given: Any) -> Any:
        base = open_base(*given)
        return replace(base, config=replace(base.config, batch=24))

    return open_with_small_batch


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder that is kept; default: a temporary one")
    parser.add_argument("--model", default="town")
    parser.add_argument("--towns", type=int, default=Curve.towns)
    parser.add_argument("--minutes", type=float, default=Curve.minutes, help="of an adaptation")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tiny", action="store_true")
    wanted = parser.parse_args()
    if wanted.threads:
        import torch

        torch.set_num_threads(wanted.threads)
    return wanted


if __name__ == "__main__":
    main()
