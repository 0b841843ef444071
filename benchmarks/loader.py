"""Does loading keep up with training? GeoDTR+ with CHSG at CVUSA's sizes, from cached pictures.

``vs_step``: places per second that ``--workers`` processes make ready (from the cache, LS, both
copies), over what a training step on this device consumes. The table has ``--rows`` rows; its
pictures repeat after ``--pictures``, so that the cache is small and the bookkeeping is not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import torch

from benchmarks.harness import report
from crossview import catalogue
from crossview.pairs.cache import fill_cache, open_cache
from crossview.pairs.loading import Loader, Reader
from crossview.pairs.official_lists import make_table
from crossview.pairs.reading import Files
from crossview.pairs.table import PairTable
from crossview.training.contract import TrainingRecipe
from crossview.training.device import lay_out, open_device
from crossview.training.loop import TrainingJob, epoch_order, train_steps
from crossview.training.train_state import make_state

GROUND_PX, AERIAL_PX = (224, 1232), (750, 750)  # CVUSA's files


def main() -> None:
    """Write pictures, fill a cache, time loading and stepping, report."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    page = catalogue.method_page("geodtr-plus").load()
    published = catalogue.recipes("geodtr-plus")["cvusa"]
    config = page.Config(**published, weights="none", backbone=given.backbone, batch=given.batch)
    device = open_device(given.device)
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as folder:
        table = _table(Path(folder), given.rows, given.pictures)
        job = TrainingJob(
            method=page,
            config=config,
            recipe=TrainingRecipe.of(config),
            views=page.views(config),
            table=table,
            device=device,
        )
        begun = time.perf_counter()
        order = epoch_order(job, 0, None)
        order_s = time.perf_counter() - begun
        reader = _reader(job, Path(folder) / "cache", catalogue.method_page("geodtr-plus"), config)
        loading = [
            _loading(reader, order, given.workers, given.batches) for _ in range(given.rounds)
        ]
        step_s = _step(job, reader, given.steps)
    ready = statistics.median(loading)
    consumed = given.batch / step_s
    report(
        name="loader",
        ratios={"vs_step": ready / consumed},
        n=given.rounds,
        threads=given.threads,
        medians={"places_ready_per_s": ready, "places_consumed_per_s": consumed},
        rows=given.rows,
        workers=given.workers,
        device=str(device),
        backbone=given.backbone,
        order_of_an_epoch_s=round(order_s, 3),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=40, help="loaded per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backbone", default="convnext_tiny")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def _table(folder: Path, rows: int, pictures: int) -> PairTable:
    rng = np.random.default_rng(0)
    files: dict[str, list[Path]] = {"ground": [], "aerial": []}
    for side, (height, width) in (("ground", GROUND_PX), ("aerial", AERIAL_PX)):
        for number in range(pictures):
            grains = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
            picture = cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC)
            files[side].append(folder / f"{side}-{number}.jpg")
            files[side][-1].write_bytes(simplejpeg.encode_jpeg(picture, quality=90))
    repeated = {s: [names[n % pictures] for n in range(rows)] for s, names in files.items()}
    pairs = np.stack([np.arange(rows)] * 2, axis=1)
    return make_table(**repeated, pairs=pairs, heading_deg=0.0, fov_deg=360.0, metres_per_px=0.23)


def _reader(job: TrainingJob, cache: Path, page: object, config: object) -> Reader:
    from dataclasses import asdict

    files = Files(job.table, job.views)
    for _ in fill_cache(cache, files, 0):
        pass
    return Reader(
        table=job.table,
        source=open_cache(cache, files),
        views=job.views,
        places=job.table.places(),
        page=page,  # type: ignore[arg-type]
        config=asdict(config),  # type: ignore[call-overload]
        seed=1,
    )


def _loading(reader: Reader, order: list[list[int]], workers: int, batches: int) -> float:
    """Places per second, the time after the first batch; workers are running by then."""
    with Loader(reader, workers) as loader:
        stream = loader.epoch(0, order)
        places = len(next(stream).rows)
        begun = time.perf_counter()
        taken = sum(1 for _ in islice(stream, batches - 1))
        return taken * places / (time.perf_counter() - begun)


def _step(job: TrainingJob, reader: Reader, steps: int) -> float:
    """Median seconds of a training step, waiting for data left out."""
    model = lay_out(job.method.build(job.config), job.device)
    state = make_state(model, job.recipe)
    with Loader(reader, 0) as loader:
        reports = list(islice(train_steps(state, job, loader), steps))
    return statistics.median(r.seconds - r.waited_s for r in reports)


if __name__ == "__main__":
    main()
