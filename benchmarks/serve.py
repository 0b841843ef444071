"""Photos located over HTTP by 50 clients against locate_many on the same cores (key vs_offline).

Two networks: a ConvNeXt-T of random weights (vs_offline) and the packaged model
(vs_offline_packaged). The clients run on the same cores and are counted. Also measured: answers
that were lost or mixed up, 95th percentiles, how long a small request waits beside a large batch,
and what happens when the queue is full.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._serving import (
    Client,
    LoadResult,
    build_random_index,
    run_server,
    send_job,
    send_load,
    write_photos,
)
from benchmarks.harness import Timings, interleaved, ratio, report
from benchmarks.index import _convnext
from crossview.index.store import Index
from crossview.localization.locate import locate_many
from crossview.model import open_model, resolve_model

SAME = 1e-5  # scores that differ by less may change places


def main() -> None:
    """Measure, print the details on stderr, and the result line."""
    arguments = _arguments()
    ratios: dict[str, float] = {}
    medians: dict[str, Timings] = {}
    more: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as name:
        folder = Path(name)
        photos = write_photos(folder / "photos", arguments.photos)
        models = {"packaged": resolve_model("town")}
        if not arguments.packaged_only:
            models = {"convnext_tiny": _convnext(folder / "convnext"), **models}
        for label, model in models.items():
            index = build_random_index(folder / label, model, arguments.tiles)
            photo_count = (
                arguments.photos_sent if label == "packaged" else arguments.photos_sent // 12
            )
            key = "vs_offline" if label == "convnext_tiny" else "vs_offline_packaged"
            with run_server(index.path) as address:
                timings, facts = _measure(index, model, photos, address, photo_count, arguments)
            ratios[key] = ratio(timings["service"].wall_s, timings["offline"].wall_s)
            medians |= {f"{label}_{kind}": timing for kind, timing in timings.items()}
            more[label] = {**facts, "beyond_the_bound": _overload(index, photos, arguments)}
            print(f"{label}: {ratios[key]:.3f} of offline; {more[label]}", file=sys.stderr)
    threads = os.cpu_count() or 1
    report(
        name="serve", ratios=ratios, n=arguments.rounds, threads=threads, medians=medians, **more
    )


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=64, help="different ones")
    parser.add_argument(
        "--photos-sent", type=int, default=1800, help="per round, of the packaged model"
    )
    parser.add_argument("--tiles", type=int, default=2500, help="windows of the index, about")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="of sustained load")
    parser.add_argument("--packaged-only", action="store_true")
    return parser.parse_args()


def _measure(
    index: Index,
    model: Path,
    photos: list[Path],
    address: tuple[str, int],
    photo_count: int,
    arguments: Any,
) -> tuple[dict[str, Timings], dict[str, Any]]:
    """Timings of the same photos, offline and by many clients; then a minute of load."""
    embedder = open_model(model)
    sequence = list(islice(cycle(photos), photo_count))

    def offline() -> None:
        for photo in sequence:
            locate_many(index, embedder, [photo])

    def service() -> None:
        send_load(address, photos, arguments.clients, photo_count=photo_count)

    candidates: dict[str, Callable[[], object]] = {"offline": offline, "service": service}
    timings = interleaved(candidates, arguments.rounds, warm_up=1 if photo_count < 300 else 0)
    facts = {
        "photos_per_round": photo_count,
        "load": _load(index, embedder, photos, address, arguments),
        "small_beside_large": _small_beside_large(photos, address),
    }
    return timings, facts


def _load(
    index: Index, embedder: Any, photos: list[Path], address: tuple[str, int], arguments: Any
) -> dict[str, Any]:
    """A minute of many clients: what was lost, what was mixed up, how long it took."""
    result = send_load(address, photos, arguments.clients, seconds=arguments.seconds)
    expected = {p.name: locate_many(index, embedder, [p])[0].scores for p in photos}
    mixed = sum(
        window != int(np.argmax(expected[name]))
        and float(expected[name].max() - expected[name][window]) >= SAME
        for name, answers in result.first.items()
        for window, _ in answers
    )
    return {
        "answers": len(result.seconds),
        "lost": result.lost,
        "mixed_up": mixed,
        "statuses": result.statuses,
        "photos_per_s": round(len(result.seconds) / result.wall_s, 2),
        **_percentiles(result),
    }


def _percentiles(result: LoadResult) -> dict[str, float]:
    middle, high = np.percentile(result.seconds, [50, 95])
    return {"median_s": round(float(middle), 4), "p95_s": round(float(high), 4)}


def _small_beside_large(photos: list[Path], address: tuple[str, int]) -> dict[str, float]:
    """Seconds of single requests on an idle server, and beside a batch of 200 photos."""
    content = photos[0].read_bytes()

    def slowest(times: int) -> float:
        client, taken = Client(address), []
        for _ in range(times):
            start = time.perf_counter()
            client.locate(content)
            taken.append(time.perf_counter() - start)
        return round(max(taken), 4)

    idle = slowest(5)
    job = send_job(address, list(islice(cycle(photos), 200)))
    beside = slowest(5)
    return {"idle_s": idle, "beside_s": beside, "photos_of_the_batch": job["photos"]}


def _overload(index: Index, photos: list[Path], arguments: Any) -> dict[str, Any]:
    """Statuses of many clients on a server whose queue holds four photos."""
    with run_server(index.path, "--queue", "4", "--max-files", "4", "--quiet") as address:
        result = send_load(address, photos, arguments.clients, seconds=min(5.0, arguments.seconds))
    return {"statuses": result.statuses, "lost": result.lost}


if __name__ == "__main__":
    main()
