"""DSM on towns that it never saw: how often it finds the place, and how well the heading.

    make bench NAME=headings    minutes of one core, rendering the towns included

A small ``dsm`` is trained from random numbers at unknown headings: first on whole panoramas and
random places, which tell towns apart, then for each field of view on batches of one town each. It
is asked in all held-out towns at once. Intervals over towns. Beside them, on the same vectors: how
often the paper's rule for the turn (highest correlation) and the index's (highest cosine) differ. A
training that is there is not repeated; a killed one goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from crossview.arrays import AnyArray
from crossview.evaluation.embed import EmbeddedTable, evaluate_conditions
from crossview.evaluation.metrics import RIGHT_TURN
from crossview.stats import cluster_interval, quantile_interval
from crossview.worlds.town_pairs import TownPlan, ensure_pairs

PLAN = TownPlan(
    styles=("suburb",),
    towns_per_style=4,
    pairs_per_town=200,
    validation_pairs_per_style=40,
    test_styles=("suburb",) * 6,
    test_pairs_per_style=40,
)
REACH_M = 900.0  # a town is smaller, the next one farther
SMALL = {  # 32 bins of 11.25 degrees; everything else as the page has it
    "widths": [8, 16, 32, 64],
    "head": [64, 32, 16],
    "ground_px": [32, 256],
    "aerial_px": [32, 256],
    "elevation_deg": [-27.0, 45.0],
    "footprint_m": 80.0,
    "dropout": 0.0,
    "batch": 32,
    "frozen": 0,
}


def main() -> None:
    """Train and measure each field of view, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/headings"))
    parser.add_argument("--fov", default="360", help="to train at, degrees with commas")
    parser.add_argument("--steps", type=int, default=600, help="at random places")
    parser.add_argument("--near", type=int, default=400, help="steps after them, town by town")
    wanted = parser.parse_args()
    pairs = ensure_pairs(wanted.root / "towns", PLAN)
    first, table = wanted.root / "dsm-first", {}
    train(first, pairs, {"steps": wanted.steps, "lr": 1e-3, "fov_deg": 360.0}, "none")
    for fov in map(float, wanted.fov.split(",")):
        run = wanted.root / f"dsm-{fov:g}"
        near = {"steps": wanted.near, "lr": 2e-4, "fov_deg": fov, "reach_m": REACH_M}
        train(run, pairs, near, str(first / "model.safetensors"))
        for asked in dict.fromkeys((fov, 90.0)):
            name = f"trained at {fov:g}, asked at {asked:g}"
            table[name] = measure(run, pairs, asked)
            print(f"{name}: {table[name]}", flush=True)
    n = len(PLAN.test_styles) * PLAN.test_pairs_per_style
    harness.report(name="headings", ratios={}, n=n, threads=1, medians={}, table=table)


def train(run: Path, pairs: Path, settings: dict[str, Any], weights: str) -> None:
    """``crossview train``, which goes on where it was."""
    import json

    from crossview.cli import main as run_crossview

    every = {**SMALL, **settings}
    typed = [f"--config={name}={json.dumps(value)}" for name, value in every.items()]
    start = ["--no-pretrained"] if weights == "none" else ["--weights", weights]
    line = ["train", "--method", "dsm", *start, "--data", f"pairs:{pairs}", *typed]
    line += ["--cache", str(pairs.parent / "cache"), "--workers", "0", "--out", str(run)]
    if run_crossview(line):
        raise SystemExit(f"the training of {run} failed")


def measure(run: Path, pairs: Path, fov_deg: float) -> dict[str, Any]:
    """Figures of one field of view with intervals over towns."""
    from crossview.assessment import AssessmentOptions, open_assessment

    options = AssessmentOptions(
        data=f"pairs:{pairs}", fov=f"{fov_deg:g}", headings="unknown", workers=0
    )
    assessment = open_assessment(options, run, print, print)
    embedded = assessment.embed(lambda job, done, total: None)
    ((_, record),) = evaluate_conditions(assessment.subject, embedded)
    rows = record.queries
    town = np.array([name.partition("/")[0] for name in rows.ids])
    error, first = rows.heading_error_deg, rows.rank == 1
    if error is None:
        raise SystemExit("no heading was answered")
    right = error <= RIGHT_TURN * fov_deg
    return {
        "R@1": share(first, town),
        "R@10": share((rows.rank >= 1) & (rows.rank <= 10), town),
        "median heading error deg": [
            round(float(v), 2) for v in (np.median(error), *quantile_interval(error, town, 0.5))
        ],
        "heading right": share(right, town),
        "heading right at R@1": share(right[first], town[first]),
        "chance of R@1 and R@10": [
            round(100.0 * k / len(record.references.ids), 2) for k in (1, 10)
        ],
        "chance of heading right": round(100.0 * 2.0 * RIGHT_TURN * fov_deg / 360.0, 2),
        **compare_rules(embedded, assessment.embedder.info.azimuth_bins),
    }


def share(values: AnyArray, town: AnyArray) -> list[float]:
    """Percent, and its interval over towns."""
    numbers = values.astype(np.float64)
    return [round(100.0 * float(v), 1) for v in (numbers.mean(), *cluster_interval(numbers, town))]


def compare_rules(embedded: EmbeddedTable, bins: int) -> dict[str, Any]:
    """R@1 by the paper's rule, and how often it turns a query otherwise against its reference."""
    import torch

    from crossview.methods import dsm
    from crossview.views.crops import compute_bin_coverage

    ((condition, queries),) = embedded.queries.items()
    seen = torch.from_numpy(compute_bin_coverage(embedded.seen_deg[condition], bins))
    one, other = torch.from_numpy(queries), torch.from_numpy(embedded.references)
    papers, turns = dsm.measure_turned_distances(one, other, seen, "correlation")
    _, ours = dsm.measure_turned_distances(one, other, seen, "cosine")
    pairs = torch.from_numpy(embedded.table.pairs)
    true = papers[pairs[:, 0], pairs[:, 1]]
    rank = (papers[pairs[:, 0]] <= true[:, None]).sum(dim=1)
    differ = (turns != ours)[pairs[:, 0], pairs[:, 1]]
    return {
        "R@1 by the highest correlation": round(100.0 * float((rank == 1).double().mean()), 1),
        "turned otherwise": round(100.0 * float(differ.double().mean()), 1),
    }


if __name__ == "__main__":
    main()
