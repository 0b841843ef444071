"""An index embedded through the queue of units, by one and by two workers, against one plain loop.

The plain loop cuts, embeds and writes the same windows in this process: what the queue, its leases
and the putting together cost beyond it is ``vs_loop`` (time of the index of one worker over
the loop's, both with one thread). Two workers share the processors with whatever else runs, so
``vs_one_worker`` says more of the machine than of the queue; ``vs_one_worker_ray`` is there where
Ray is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks.harness import interleaved, ratio, report
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.windows import count_windows, cut_windows
from crossview.index.build import batch_windows, build_index, open_job, prefetch
from crossview.index.index_options import IndexOptions
from crossview.index.store import write_segment
from crossview.index.units import cut_units
from crossview.index.workers import LocalCrew, RayCrew

FOOTPRINT_M, STRIDE_M, PX_M = 80.0, 20.0, 0.4


def main() -> None:
    """Measure, tell the details on stderr, and print the line."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as name:
        folder = Path(name)
        raster = _raster(folder / "aerial.tif", arguments.tiles)
        options = IndexOptions(stride_m=STRIDE_M, demo_only=True, overwrite=True)
        with open_job([raster], arguments.model, options, SourceOptions(), threads=1) as job:
            tiles = count_windows(job.imagery, job.tiling)
            crews: dict[str, Any] = {"one": None, "two": LocalCrew(2, 1)}
            if importlib.util.find_spec("ray") is not None:
                crews["ray"] = RayCrew("", 2, 1)

            def embed(crew: Any) -> None:
                build_index(
                    job.imagery, job.embedder, folder / "a.cvx", options=job.options, crew=crew
                )

            candidates = {"loop": lambda: _loop(job, folder / "loop")}
            candidates |= {name: (lambda crew=crew: embed(crew)) for name, crew in crews.items()}
            timings = interleaved(candidates, arguments.rounds, warm_up=0)
            units = len(cut_units(tiles, replace(job.options)))
    ratios = {
        "vs_loop": ratio(timings["one"].wall_s, timings["loop"].wall_s),
        "vs_one_worker": ratio(timings["two"].wall_s, timings["one"].wall_s),
    }
    if "ray" in timings:
        ratios["vs_one_worker_ray"] = ratio(timings["ray"].wall_s, timings["one"].wall_s)
    cpu = ratio(timings["one"].cpu_s, timings["loop"].cpu_s)
    rates = {name: float(f"{units / t.median_wall_s:.4g}") for name, t in timings.items()}
    print(f"{tiles} tiles in {units} units; units a second {rates}", file=sys.stderr)
    report(
        name="workers",
        ratios=ratios,
        n=tiles,
        threads=1,
        medians=timings,
        rounds=arguments.rounds,
        units=units,
        units_per_s=rates,
        vs_loop_cpu=cpu,
        cores=os.cpu_count() or 1,
    )


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiles", type=int, default=6000, help="about")
    parser.add_argument("--model", default="town", help="a packaged name or a folder")
    return parser.parse_args()


def _loop(job: Any, folder: Path) -> None:
    """Segments of the same windows, with nothing around them that remembers or shares."""
    folder.mkdir(exist_ok=True)
    for unit in cut_units(count_windows(job.imagery, job.tiling), job.options):
        vectors, places, thumbnails = [], [], []
        windows = (
            window
            for window in cut_windows(job.imagery, job.tiling, unit.start)
            if window.number < unit.stop
        )
        with closing(prefetch(batch_windows(windows, job.view, job.options.batch))) as batches:
            for batch in batches:
                vectors.append(job.embedder.aerial(batch.views))
                places.append(batch.places)
                thumbnails += batch.thumbnails
                if batch.last == unit.stop - 1:
                    break
        name = f"segment-{unit.number:05d}"
        write_segment(folder, name, np.concatenate(vectors), np.concatenate(places), thumbnails)


def _raster(path: Path, tiles: int) -> Path:
    """Coloured noise in lumps, as wide as it is high, with about so many windows."""
    across = max(1, round(tiles**0.5))
    side = round((FOOTPRINT_M + STRIDE_M * (across - 1)) / PX_M)
    lumps = np.random.default_rng(0).integers(0, 255, (side // 8 + 1, side // 8 + 1, 3), np.uint8)
    pixels = cv2.resize(lumps, (side, side), interpolation=cv2.INTER_NEAREST)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8",
        "crs": "EPSG:25833", "transform": from_origin(391_000.0, 5_820_000.0, PX_M, PX_M),
        "tiled": True, "compress": "jpeg", "photometric": "ycbcr",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(np.moveaxis(pixels, 2, 0))
    return path


if __name__ == "__main__":
    main()
