"""One photo against a large index: the filter of bytes, the whole scan, and faiss with 30 turns.

    make bench NAME=search    about 3 minutes of one core; --windows 1000000 takes 3 GB and longer

Windows are those of a town by the packaged model, many times over, each with noise of its own, so
that bins differ in length as they do. ``scan`` scores all of them, as an index does without a
filter; ``filter`` finds the best 300, exactly the same ones. faiss cannot compute the score: it is
asked with the query in all turns, and what it gives is compared again. How many it must give for
each turn, so that the best window is among them, is counted. All use one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy, faiss and onnxruntime read it

import numpy as np

from benchmarks._towns import demo_towns
from benchmarks.harness import interleaved, ratio, report
from crossview.arrays import F32, I64
from crossview.index.candidates import BEST, ByteFilter, find_contenders
from crossview.index.similarity import Asked
from crossview.index.store import Index
from crossview.views.crops import compute_bin_coverage

FOVS = {"photo": 90.0, "panorama": 360.0}
PER_TURN = (10, 200, 1000)  # of faiss
NOISE = 0.02  # of each number of a vector, whose root mean square is .046
ASKED_NOISE = 0.03
BLOCK = 20_000
TIMED = 4  # pictures, one after the other


def main() -> None:
    """Measure both kinds of pictures, check the windows found, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=20, help="that are checked")
    parser.add_argument("--towns", type=Path, default=Path("runs/world"), help="rendered or not")
    wanted = parser.parse_args()
    index = Index.open(next(iter(demo_towns(wanted.towns, 1))).index)
    vectors = multiply(index, wanted.windows)
    up = np.zeros(len(vectors))
    bins = index.manifest.model.azimuth_bins
    fast = build_filter(vectors, bins)
    flat = build_faiss(vectors)
    ratios: dict[str, float] = {}
    medians: dict[str, float] = {}
    found: dict[str, Any] = {}
    for kind, fov_deg in FOVS.items():
        asked = [ask(vectors, bins, fov_deg, seed) for seed in range(wanted.queries)]
        works: dict[str, Callable[[Asked], object]] = {
            "scan": lambda one: one.score(vectors, up),
            "filter": lambda one: best(fast, one, vectors, up),
        }
        for count in PER_TURN:
            works[f"faiss {count}"] = partial(recheck, flat, vectors=vectors, count=count)
        candidates = {name: partial(repeat, work, asked[:TIMED]) for name, work in works.items()}
        timings = interleaved(candidates, wanted.rounds)
        for name, timing in timings.items():
            medians[f"{kind} {name} ms"] = 1e3 * timing.median_cpu_s / TIMED
            if name != "filter":
                key = f"{kind}_vs_{name.replace(' ', '_')}"
                ratios[key] = ratio(timings["filter"].cpu_s, timing.cpu_s)
        found[kind] = compare(asked, vectors, up, fast, flat)
        print(kind, {k: v for k, v in medians.items() if k.startswith(kind)}, file=sys.stderr)
    report(
        name="search",
        ratios=ratios,
        n=wanted.rounds,
        threads=1,
        medians=medians,
        windows=len(vectors),
        found=found,
        bytes_a_window={"vectors": 4 * vectors.shape[1], "filter": count_bytes(fast)},
    )


def multiply(index: Index, count: int) -> F32:
    """``count`` unit vectors: those of an index, as often as needed, with noise."""
    known = np.concatenate([block for _, block in index.blocks()])
    vectors = np.empty((count, known.shape[1]), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, count, BLOCK):
        part = vectors[start : start + BLOCK]
        part[:] = known[rng.integers(0, len(known), len(part))]
        part += NOISE * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def ask(vectors: F32, bins: int, fov_deg: float, seed: int) -> Asked:
    """A picture that was taken in one of the windows."""
    rng = np.random.default_rng(seed)
    vector = vectors[rng.integers(len(vectors))].copy()
    vector += ASKED_NOISE * rng.standard_normal(len(vector), dtype=np.float32)
    vector = np.roll(vector.reshape(bins, -1), int(rng.integers(bins)), axis=0).reshape(-1)
    vector /= np.linalg.norm(vector)
    return Asked(vector, compute_bin_coverage([fov_deg], bins, [0.0])[0])


def build_filter(vectors: F32, bins: int) -> ByteFilter:
    """The filter of all vectors, block by block."""
    parts = [ByteFilter.round(vectors[i : i + BLOCK], bins) for i in range(0, len(vectors), BLOCK)]
    return ByteFilter(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.facts for part in parts]),
    )


def build_faiss(vectors: F32) -> Any:
    """Faiss' exact index of inner products."""
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    return flat


def best(fast: ByteFilter, one: Asked, vectors: F32, up: Any) -> tuple[I64, int]:
    """The best windows, best first, and how many were compared exactly."""

    def score(rows: I64) -> F32:
        return one.score(vectors[rows], up[rows])[0]

    rows = find_contenders(fast.compute_bounds(one, up), BEST, score)
    return rows[np.argsort(-score(rows), kind="stable")[:BEST]], len(rows)


def repeat(work: Callable[[Asked], object], asked: list[Asked]) -> None:
    """One picture after the other."""
    for one in asked:
        work(one)


def recheck(flat: Any, one: Asked, vectors: F32, count: int) -> I64:
    """What faiss finds for each turn, compared exactly, best first."""
    turned = np.ascontiguousarray(one.turn()[0])
    rows = np.unique(flat.search(turned, count)[1])
    scores = one.score(vectors[rows], np.zeros(len(rows)))[0]
    return rows[np.argsort(-scores, kind="stable")[:BEST]]


def compare(
    asked: list[Asked], vectors: F32, up: Any, fast: ByteFilter, flat: Any
) -> dict[str, float]:
    """How often each finds what the whole scan finds: all of the best, or the best one."""
    same, compared = [], []
    first: dict[int, list[bool]] = {count: [] for count in PER_TURN}
    for one in asked:
        scores = one.score(vectors, up)[0]
        truth = np.argsort(-scores, kind="stable")[:BEST]
        rows, count = best(fast, one, vectors, up)
        same.append(bool(np.allclose(scores[rows], scores[truth], atol=1e-6)))
        compared.append(count)
        turned = np.ascontiguousarray(one.turn()[0])
        for per_turn, hits in first.items():
            hits.append(bool(truth[0] in flat.search(turned, per_turn)[1]))
    return {
        "filter_same_best_300": float(np.mean(same)),
        "compared_exactly_median": float(np.median(compared)),
        "compared_exactly_most": float(np.max(compared)),
        **{f"faiss_{count}_has_best": float(np.mean(hits)) for count, hits in first.items()},
    }


def count_bytes(fast: ByteFilter) -> float:
    """Of a window."""
    return (fast.codes.nbytes + fast.facts.nbytes) / len(fast.codes)


if __name__ == "__main__":
    main()
