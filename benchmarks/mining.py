"""Similarity sampling against the authors' shape: the whole matrix, then its largest entries.

``vs_sample4geo``: the authors' evaluation multiplies blocks, keeps them all, joins them and sorts
out 129 columns per row, in float32 (two matrices at once in memory). Synthetic vectors: points of a
64-dimensional latent space in 2,000 clusters, lifted non-linearly, queries perturbed. The option
without a second pass is set against a training epoch of ConvNeXt-T at the paper's picture sizes.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import interleaved, ratio, report
from benchmarks.singeo_step import a_batch
from crossview.methods import singeo
from crossview.training.cost import extra_memory_mb
from crossview.training.device import is_fast_in_bfloat16
from crossview.training.loop import Objective, backward
from crossview.training.mining import rank_similar_rows
from crossview.training.train_state import VectorMemory

KEEP = 128


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=35_532)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", default="convnext_tiny")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    queries, references = synthetic(given.rows, given.dim)
    places = np.arange(given.rows)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = rank_similar_rows(queries, references, places, KEEP)

    def peer() -> None:
        found["peer"] = whole_matrix(queries, references)

    timings = interleaved({"ours": ours, "sample4geo": peer}, given.rounds, warm_up=0)
    megabytes = extra_memory_mb(torch.device("cpu"), ours)
    share = np.mean([
        len(np.intersect1d(a, b)) / KEEP for a, b in zip(found["ours"], found["peer"], strict=True)
    ])  # fmt: skip
    epoch_s, noting_s = epoch_seconds(given.rows, given.backbone), noting_seconds(queries)
    search_s = timings["ours"].median_wall_s
    report(
        name="mining",
        ratios={"vs_sample4geo": ratio(timings["ours"].cpu_s, timings["sample4geo"].cpu_s)},
        n=given.rounds,
        threads=given.threads,
        medians=timings,
        rows=given.rows,
        dim=given.dim,
        neighbour_overlap=round(float(share), 5),
        extra_memory_mb=round(megabytes),
        share_of_an_epoch_without_second_pass=round((noting_s + search_s) / epoch_s, 6),
        bfloat16=is_fast_in_bfloat16(torch.device("cpu")),
    )


def synthetic(rows: int, dim: int) -> tuple[Tensor, Tensor]:
    """Unit vectors [rows, dim] of queries and of their references."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(2000, 64, generator=draw)
    latent = centres[torch.randint(2000, (rows,), generator=draw)]
    latent = latent + 0.5 * torch.randn(rows, 64, generator=draw)
    first, second = (torch.randn(a, b, generator=draw) for a, b in ((64, 256), (256, dim)))

    def lifted(points: Tensor) -> Tensor:
        lift = torch.tanh(points @ first / 8.0) @ second / 16.0
        noise = 0.3 * torch.randn(rows, dim, generator=draw)
        return torch.nn.functional.normalize(lift + noise, dim=1)

    return lifted(latent + 0.3 * torch.randn(rows, 64, generator=draw)), lifted(latent)


def whole_matrix(queries: Tensor, references: Tensor) -> np.ndarray:
    """[rows, KEEP] as the authors find them: every score at once, own place dropped."""
    blocks = [block @ references.T for block in queries.split(256)]
    scores = torch.cat(blocks)
    near = scores.topk(KEEP + 1, dim=1).indices.numpy()
    own = near == np.arange(len(near))[:, None]
    own[~own.any(axis=1), -1] = True
    return near[~own].reshape(len(near), KEEP)


def noting_seconds(vectors: Tensor) -> float:
    """Keeping one epoch's vectors, batch by batch."""
    memory = VectorMemory(len(vectors))
    begun = time.perf_counter()
    for rows in torch.arange(len(vectors)).split(16):
        memory.note(rows, vectors[rows], vectors[rows])
    return time.perf_counter() - begun


def epoch_seconds(rows: int, backbone: str) -> float:
    """One epoch of SinGeo at the paper's sizes, from a step of four pairs."""
    config = singeo.Config(backbone=backbone, weights="none")
    model = singeo.build(config).to(memory_format=torch.channels_last)
    batch = a_batch(config, pairs=4)
    objective = Objective(page=singeo, config=config)
    begun = time.perf_counter()
    backward(model, batch, objective)
    seconds = time.perf_counter() - begun
    print(f"a step of 4 pairs with {backbone}: {seconds:.1f} s", file=sys.stderr)
    return seconds / 4 * rows


if __name__ == "__main__":
    main()
