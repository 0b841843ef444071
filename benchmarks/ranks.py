"""Exact ranks against the shapes of Sample4Geo's and GeoDTR+'s evaluators and faiss Flat.

The peers' shapes are written anew from what their public code does: Sample4Geo collects chunks of
the whole matrix in a list, joins them, and loops over rows; GeoDTR+ keeps the whole matrix in
float64 and loops over all queries once per cut-off (timed for 3 cut-offs, scaled to 1 %). faiss
searches ten neighbours, which does not even give R@1%. Everything holds unit vectors of 1,024
numbers; queries resemble their references as those of a trained network do (R@1 near 85 %). At
92,802 references a sample of queries is asked; what each candidate does once for all references is
timed apart, and the rest is scaled to as many queries.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
from pathlib import Path
from typing import Any

ARGUMENTS = argparse.ArgumentParser(description=__doc__)
ARGUMENTS.add_argument("--rounds", type=int, default=7)
ARGUMENTS.add_argument("--threads", type=int, default=1)
ARGUMENTS.add_argument("--small", type=int, default=8_884, help="queries and references")
ARGUMENTS.add_argument("--large", type=int, default=92_802, help="references")
ARGUMENTS.add_argument("--sample", type=int, default=2_048, help="queries asked of them")
GIVEN = ARGUMENTS.parse_args() if __name__ == "__main__" else ARGUMENTS.parse_args([])
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = str(GIVEN.threads)  # before numpy and torch read them

import numpy as np  # noqa: E402

from benchmarks.harness import Timings, interleaved, ratio, report  # noqa: E402
from crossview.evaluation.fast_scores import Plain  # noqa: E402
from crossview.evaluation.metrics import k_at_1_percent  # noqa: E402
from crossview.evaluation.ranking import rank  # noqa: E402
from crossview.evaluation.task import Pairs, Relation  # noqa: E402

DIM = 1024
LATENT = 128  # how many directions really vary
TIMED_CUTS = 3


def main() -> None:
    """Measure both sizes, check the ranks, and print the line."""
    import faiss
    import torch

    torch.set_num_threads(GIVEN.threads)
    faiss.omp_set_num_threads(GIVEN.threads)
    small, geodtr, wrong_small = small_size()
    large, whole, wrong_large = large_size()
    report(
        name="ranks",
        ratios={
            "vs_sample4geo": ratio(small["ours"].wall_s, small["sample4geo"].wall_s),
            "vs_geodtr": ratio(small["ours"].wall_s, geodtr),
            "vs_sample4geo_large": ratio(whole["ours"], whole["sample4geo"]),
            "vs_faiss": ratio(whole["ours"], whole["faiss"]),
        },
        n=GIVEN.rounds,
        threads=GIVEN.threads,
        medians={f"small_{name}": timings for name, timings in small.items()}
        | {f"large_{name}": timings for name, timings in large.items()},
        whole_s={name: round(statistics.median(seconds), 1) for name, seconds in whole.items()},
        sizes={"small": [GIVEN.small] * 2, "large": [GIVEN.sample, GIVEN.large], "dim": DIM},
        ranks_unlike_float64=wrong_small + wrong_large,
        extra_memory_mb=extra_memory_mb(),
    )


def small_size() -> tuple[dict[str, Timings], list[float], int]:
    """Timings, GeoDTR+'s seconds for all cut-offs, and how many ranks are wrong."""
    q, r = vectors(GIVEN.small, GIVEN.small)
    timings = interleaved(
        {
            "ours": lambda: ours(q, r),
            "sample4geo": lambda: sample4geo_shape(q, r),
            "geodtr_0_cuts": lambda: geodtr_shape(q, r, 0),
            "geodtr_3_cuts": lambda: geodtr_shape(q, r, TIMED_CUTS),
        },
        GIVEN.rounds,
    )
    times = k_at_1_percent(GIVEN.small) / TIMED_CUTS
    both = zip(timings["geodtr_0_cuts"].wall_s, timings["geodtr_3_cuts"].wall_s, strict=True)
    geodtr = [matrix + (looped - matrix) * times for matrix, looped in both]
    return timings, geodtr, different(ours(q, r), q, r)


def large_size() -> tuple[dict[str, Timings], dict[str, list[float]], int]:
    """Timings of the sample, seconds scaled to as many queries as references, wrong ranks."""
    q, r = vectors(GIVEN.sample, GIVEN.large)
    timings = interleaved(
        {
            "ours": lambda: ours(q, r),
            "ours_once": Plain(q[:256], r).filters()[0],
            "sample4geo": lambda: sample4geo_shape(q, r),
            "faiss": lambda: faiss_shape(q, r),
            "faiss_once": lambda: faiss_shape(q[:0], r),
        },
        GIVEN.rounds,
    )
    times = GIVEN.large / GIVEN.sample
    whole = {"sample4geo": [seconds * times for seconds in timings["sample4geo"].wall_s]}
    for name in ("ours", "faiss"):
        both = zip(timings[f"{name}_once"].wall_s, timings[name].wall_s, strict=True)
        whole[name] = [once + (every - once) * times for once, every in both]
    return timings, whole, different(ours(q, r), q, r)


def vectors(queries: int, references: int) -> tuple[Any, Any]:
    """Unit float32 [Q, D] and [R, D]; query i belongs to reference i."""
    rng = np.random.default_rng(0)
    strength = (np.arange(1, LATENT + 1) ** -0.5)[:, None]
    basis = (rng.standard_normal((LATENT, DIM)) * strength).astype(np.float32)
    latent = rng.standard_normal((references, LATENT), dtype=np.float32)
    r = latent @ basis
    q = (latent[:queries] + rng.standard_normal((queries, LATENT), dtype=np.float32)) @ basis
    q += rng.standard_normal(q.shape, dtype=np.float32)
    return unit(q), unit(r)


def unit(rows: Any) -> Any:
    """Rows of length 1."""
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def ours(q: Any, r: Any) -> Any:
    """The evaluator's ranks."""
    pairs = Pairs.of(np.stack([np.arange(len(q))] * 2, axis=1))
    nobody = Pairs.of(np.empty((0, 2), np.int64))
    relation = Relation(queries=len(q), references=len(r), right=pairs, near=nobody)
    return rank(Plain(q, r), relation).of_queries()


def sample4geo_shape(q: Any, r: Any) -> list[float]:
    """Chunks of 1,000 queries in a list, joined; then row by row."""
    import torch

    left, right = torch.from_numpy(q), torch.from_numpy(r)
    chunks = [left[i : i + 1000] @ right.T for i in range(0, len(left), 1000)]
    similarity = torch.cat(chunks, dim=0)
    cuts = [1, 5, 10, len(r) // 100]
    hits = np.zeros(len(cuts))
    for i in range(len(left)):
        ranking = (similarity[i, :] > similarity[i, i]).sum()
        for j, cut in enumerate(cuts):
            if ranking < cut:
                hits[j] += 1.0
    return list(hits / len(left))


def geodtr_shape(q: Any, r: Any, cuts: int) -> list[float]:
    """Distances in float64, then for each cut-off all queries, along a column each."""
    distance = 2.0 - 2.0 * (r.astype(np.float64) @ q.astype(np.float64).T)
    found = []
    for cut in range(cuts):
        hits = 0.0
        for i in range(distance.shape[1]):
            if np.sum(distance[:, i] < distance[i, i]) < cut:
                hits += 1.0
        found.append(hits / distance.shape[1])
    return found


def faiss_shape(q: Any, r: Any) -> Any:
    """Ten neighbours by faiss Flat, its index built anew as an evaluation does."""
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(r)
    return index.search(q, 10)[1]


def different(found: Any, q: Any, r: Any) -> int:
    """How many ranks are not those of float64 with ties within 1e-12 against the query."""
    wrong = 0
    exact = r.astype(np.float64)
    for start in range(0, len(q), 256):
        scores = q[start : start + 256].astype(np.float64) @ exact.T
        rows = np.arange(len(scores))
        own = scores[rows, start + rows]
        wrong += int(((scores >= own[:, None] - 1e-12).sum(axis=1) != found[start:][:256]).sum())
    return wrong


def extra_memory_mb() -> float:
    """Of our ranks at the large size, in a fresh process: the highest above what was there."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_extra_memory_mb, (GIVEN.sample, GIVEN.large)))


def _extra_memory_mb(queries: int, references: int) -> float:
    q, r = vectors(queries, references)
    ours(q[:300], r[:300])  # libraries are loaded
    Path("/proc/self/clear_refs").write_text("5")  # Linux: begin a new high-water mark
    before = _status_mb("VmRSS")
    ours(q, r)
    return _status_mb("VmHWM") - before


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name))) / 1e3


if __name__ == "__main__":
    print("about 4 minutes of one core", file=sys.stderr)
    main()
