"""Decoding and resizing to a network's size: exact, fast and cached, against Pillow.

``fast_vs_pillow``, ``cache_vs_pillow``, ``exact_vs_pillow``: Pillow decodes in full and resizes by
its antialiased bilinear, as torchvision's loaders do; ours goes through ``pairs.reading.Files`` and
``pairs.cache.Cache``, as a training does. Four shapes, JPEG quality 90, photo-like content.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Timings, interleaved, ratio, report
from crossview.arrays import U8
from crossview.pairs.batch import Views
from crossview.pairs.cache import fill_cache, open_cache
from crossview.pairs.official_lists import make_table
from crossview.pairs.reading import Files
from crossview.pairs.table import PairTable
from crossview.views.spec import ViewSpec

SHAPES = {  # name: (height, width) of the file and of the view
    "CVACT aerial": ((1200, 1200), (384, 384)),
    "CVACT panorama": ((832, 1664), (140, 768)),
    "large tile": ((2048, 2048), (256, 256)),
    "VIGOR panorama": ((1024, 2048), (384, 768)),
}


def main() -> None:
    """Write pictures, read them in turns, report."""
    arguments = _arguments()
    import cv2

    cv2.setNumThreads(1)
    timings: dict[str, dict[str, Timings]] = {}
    likeness = {}
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as folder:
        for name, (size, view) in SHAPES.items():
            table = _table(Path(folder) / name, size, arguments.pictures)
            timings[name] = interleaved(_candidates(table, view), arguments.rounds)
            likeness[name] = _psnr_db(table, view)
            per_ms = 1000.0 / arguments.pictures
            told = ", ".join(
                f"{k} {per_ms * t.median_wall_s:.2f}" for k, t in timings[name].items()
            )
            print(f"{name}: ms per picture: {told}", file=sys.stderr)
    peers = {f"{ours}_vs_pillow": ours for ours in ("fast", "cache", "exact")}
    report(
        name="decode",
        ratios={key: _overall(timings, ours) for key, ours in peers.items()},
        n=arguments.rounds,
        threads=1,
        medians={f"{name}: {k}": t for name, some in timings.items() for k, t in some.items()},
        by_shape={
            name: {key: _ratio(some, ours) for key, ours in peers.items()}
            for name, some in timings.items()
        },
        pictures=arguments.pictures,
        fast_against_exact_psnr_db=likeness,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12, help="files of each shape")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


def _ratio(timings: dict[str, Timings], ours: str) -> float:
    return round(ratio(timings[ours].wall_s, timings["pillow"].wall_s), 2)


def _overall(timings: dict[str, dict[str, Timings]], ours: str) -> float:
    """Ratio of the seconds of all shapes together, the middle round."""
    sums = {
        name: [sum(rounds) for rounds in zip(*(some[name].wall_s for some in timings.values()))]  # noqa: B905
        for name in (ours, "pillow")
    }
    return ratio(sums[ours], sums["pillow"])


def _candidates(table: PairTable, view: tuple[int, int]) -> dict[str, Callable[[], object]]:
    exact, fast = (Files(table, _views(view), how) for how in ("exact", "fast"))
    folder = table.root / "cache"
    for _ in fill_cache(folder, exact, 0):
        pass
    cached = open_cache(folder, exact)
    rows = range(len(table.aerial))

    def pillow() -> None:
        for path in table.aerial:
            with Image.open(path) as image:
                small = image.convert("RGB").resize(view[::-1], Image.Resampling.BILINEAR)
            np.asarray(small)

    def of_cache() -> None:
        for row in rows:
            np.array(cached.aerial(row)[0])  # a copy: pages are really read

    def of_files(files: Files) -> Callable[[], None]:
        def read() -> None:
            for row in rows:
                files.aerial(row)

        return read

    return {"pillow": pillow, "exact": of_files(exact), "fast": of_files(fast), "cache": of_cache}


def _psnr_db(table: PairTable, view: tuple[int, int]) -> float:
    """Of the fast picture against the exact one, the mean over the files."""
    both = [Files(table, _views(view), how) for how in ("exact", "fast")]
    worth = []
    for row in range(len(table.aerial)):
        one, two = (files.aerial(row)[0].astype(np.float64) for files in both)
        worth.append(10.0 * np.log10(255.0**2 / np.mean((one - two) ** 2)))
    return round(float(np.mean(worth)), 1)


def _views(size: tuple[int, int]) -> Views:
    rule = {"height_px": size[0], "width_px": size[1], "whole": True, "resize": "linear-antialias"}
    return Views(
        ground=ViewSpec(side="ground", **rule),
        aerial=ViewSpec(side="aerial", footprint_m=70.0, **rule),
    )


def _table(folder: Path, size: tuple[int, int], count: int) -> PairTable:
    folder.mkdir()
    files = []
    for number, pixels in zip(range(count), _pictures(size), strict=False):
        files.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(files[-1], "JPEG", quality=90)
    return make_table([], files, [], root=folder)


def _pictures(size: tuple[int, int]) -> Iterator[U8]:
    """Noise whose octaves weaken towards the finest as those of photos do."""
    import cv2

    rng = np.random.default_rng(0)
    while True:
        total = np.full((*size, 3), 128.0)
        for octave in range(9):
            across = tuple(max(2, n >> octave) for n in size)
            noise = rng.standard_normal((*across, 3)) * 4.0 * 1.45**octave
            total += cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
        yield np.clip(total, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
