"""Small records for tests, of made-up numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol, Queries, References


def made_evaluation(queries: int = 6, references: int = 12, **changes) -> Evaluation:
    """A whole record with seeded numbers; ``changes`` replace its fields."""
    rng = np.random.default_rng(0)
    order = np.argsort(rng.random((queries, references)), axis=1)[:, :10]
    best = np.full((queries, 10), -1)
    best[:, : order.shape[1]] = order
    latlon = np.column_stack([60 + rng.random(references) / 100, 10 + rng.random(references) / 50])
    record = Evaluation(
        label="toy",
        method="sample4geo",
        model={"fingerprint": "0" * 64},
        data="pairs:toy.csv",
        split="test",
        root="toy",
        protocol=Protocol(
            relation="one to one", headings="unknown", fov_deg=90.0, representation="narrow"
        ),
        seeds=(0,),
        skipped=0,
        k_at_1_percent=1,
        figures=(Figure(name="R@1", value=50.0, low=20.0, high=80.0, n=queries, unit="%",
                        over="queries, one training"),),
        queries=Queries(
            ids=np.array([f"ground/{n}.jpg" for n in range(queries)]),
            rank=rng.integers(1, references, queries),
            error_m=rng.random(queries) * 100,
            truth_latlon=latlon[rng.integers(0, references, queries)],
            found_latlon=latlon[best[:, 0]],
            truth=rng.integers(0, references, queries),
            best=best,
            best_score=-np.sort(-rng.random((queries, 10)), axis=1).astype(np.float32),
            true_score=rng.random(queries).astype(np.float32),
            unmatched_score=rng.random(queries).astype(np.float32) / 2,
            cluster=np.arange(queries),
            heading_error_deg=rng.random(queries) * 180.0,
        ),
        references=References(
            ids=np.array([f"aerial/{n}.jpg" for n in range(references)]), latlon=latlon
        ),
        created="2026-01-01T00:00:00+00:00",
        command="crossview evaluate",
        crossview="0.1.0",
    )  # fmt: skip
    return replace(record, **changes)
