"""The best windows of a photo compared again: how many more are found, and what it costs.

    make bench NAME=rerank      ten minutes of one core once the towns are there

On the demo's unseen towns (``_towns.demo_towns``), photos of 90 degrees with nothing but their
files, and panoramas. Intervals over towns. Costs are in seconds of
processor time a photo, because the clock also tells what else a machine does.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from crossview.geo.points import LatLon, measure_distance_m
from crossview.index.store import Index
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.model import Embedder, open_model
from crossview.stats import cluster_interval

KINDS = ("photo_90deg", "panorama")


def main() -> None:
    """Measure town by town, print a table and one JSON line."""
    wanted = _read_arguments()
    embedder = open_model("town", threads=1)
    rows: list[dict[str, Any]] = []
    for town in _towns.demo_towns(wanted.root, wanted.seeds):
        for kind in KINDS:
            rows.append(_measure(town, kind, embedder, wanted))
            print(rows[-1], flush=True)
    table = {
        f"{style} {kind}": _pool([r for r in rows if (r["style"], r["kind"]) == (style, kind)])
        for style in dict.fromkeys(row["style"] for row in rows)
        for kind in KINDS
    }
    print("\n".join(_format(name, figures) for name, figures in table.items()))
    harness.report(
        name="rerank",
        ratios={},
        n=sum(row["n"] for row in rows),
        threads=1,
        medians={},
        windows=wanted.windows,
        model=embedder.fingerprint[:12],
        table=table,
    )


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/towns"))
    parser.add_argument("--seeds", type=int, default=5, help="towns of each style")
    parser.add_argument("--pictures", type=int, default=200, help="of each kind in each town")
    parser.add_argument("--panoramas", type=int, default=200, help="of them")
    parser.add_argument("--windows", type=int, default=50, help="that are compared again")
    return parser.parse_args()


def _measure(
    town: _towns.DemoTown, kind: str, embedder: Embedder, wanted: argparse.Namespace
) -> dict[str, Any]:
    """Hits of one town without and with re-ranking, and the seconds that it takes more."""
    index = Index.open(town.index)
    with town.places.open(encoding="utf-8") as stream:
        listed = [row for row in csv.DictReader(stream) if row["kind"] == kind]
    listed = listed[: wanted.panoramas if kind == "panorama" else wanted.pictures]
    photos = [town.places.parent / row["file"] for row in listed]
    truths = [LatLon(float(row["lat"]), float(row["lon"])) for row in listed]
    hits, seconds = [], []
    for count in (0, wanted.windows):
        begun = time.process_time()
        answers = locate_many(index, embedder, photos, Hints(places=1, rerank=count))
        seconds.append((time.process_time() - begun) / len(photos))
        hits.append(
            [
                measure_distance_m(answer.places[0].footprint.centre, truth) <= RIGHT_WITHIN_M
                for answer, truth in zip(answers, truths, strict=True)
            ]
        )
    return {
        "style": town.style,
        "seed": town.seed,
        "kind": kind,
        "n": len(photos),
        "once": float(np.mean(hits[0])),
        "again": float(np.mean(hits[1])),
        "won": int(np.sum(np.array(hits[1]) > np.array(hits[0]))),
        "lost": int(np.sum(np.array(hits[1]) < np.array(hits[0]))),
        "cpu_s_more": round(seconds[1] - seconds[0], 3),
    }


def _pool(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over towns, with intervals over towns."""
    pooled: dict[str, Any] = {"towns": len(rows), "n": sum(row["n"] for row in rows)}
    for name in ("once", "again"):
        shares = np.array([row[name] for row in rows])
        pooled[name] = round(float(shares.mean()), 4)
        pooled[f"{name}_interval"] = [
            round(float(x), 4) for x in cluster_interval(shares, np.arange(len(shares)))
        ]
    pooled["won"], pooled["lost"] = (sum(row[name] for row in rows) for name in ("won", "lost"))
    pooled["cpu_s_more"] = round(float(np.mean([row["cpu_s_more"] for row in rows])), 3)
    return pooled


def _format(name: str, figures: dict[str, Any]) -> str:
    once, again = (
        f"{figures[key]:.1%} ({figures[f'{key}_interval'][0]:.1%} to "
        f"{figures[f'{key}_interval'][1]:.1%})"
        for key in ("once", "again")
    )
    return (
        f"{name:24} n {figures['n']:5}  once {once}  again {again}  won {figures['won']} "
        f"lost {figures['lost']}  {figures['cpu_s_more']:.2f} s more"
    )


if __name__ == "__main__":
    main()
