"""The packaged model on unseen towns beside a colour histogram, a random and a plain network.

    make bench NAME=world                              a town of a seen style, one of the unseen
    python -m benchmarks.world --seeds 5 --all-styles  the table of the model card
    python -m benchmarks.world --train-plain FOLDER    first train the plain network there

Each figure is that of ``crossview demo``; ratios are the model's share of pictures within 25 m
against each peer's, over panoramas and 90-degree photos together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import harness
from crossview.demo import DemoSettings, run_demo
from crossview.stats import wilson
from crossview.worlds.styles import SEEN_STYLES, UNSEEN_STYLE
from crossview.worlds.town_pairs import FIRST_TEST_SEED, TownPlan, ensure_pairs

KINDS = ("panorama_unknown_heading", "photo_90deg")
PLAIN_STYLE = "suburb"
PLAIN_PLAN = TownPlan(
    styles=(PLAIN_STYLE,),
    towns_per_style=14,
    pairs_per_town=286,  # 4,004 pairs
    validation_pairs_per_style=100,
)
PLAIN_STRIDE_M = 25.0  # about 800 tiles


def main() -> None:
    """Measure, print a table, and end with one JSON line."""
    wanted = _arguments()
    runs = list(_list_runs(wanted))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for n, settings in enumerate(runs):
            rows.append(run_demo(settings, Path(folder) / str(n)))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
        plain = _plain(wanted, Path(folder)) if wanted.train_plain else None
    table = {style: pooled([r for r in rows if r["style"] == style]) for style in _styles(wanted)}
    for style, kinds in table.items():
        for kind, matchers in kinds.items():
            print(f"{style:10} {kind:26} {json.dumps(matchers)}")
    seen = table[_styles(wanted)[0]]
    harness.report(
        name="world",
        ratios=_ratios(seen, plain),
        n=seen[KINDS[0]]["model"]["n"],
        threads=os.cpu_count() or 1,
        medians={f"{k} {m}": v["within_25m"] for k in KINDS for m, v in seen[k].items()},
        town_version=rows[0]["town_version"],
        seeds=wanted.seeds,
        table=table,
        plain=plain,
    )


def pooled(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over towns of one style, with the interval over all their pictures."""
    kinds: dict[str, dict[str, Any]] = {}
    for kind in (key for key, value in rows[0].items() if isinstance(value, dict)):
        for matcher in rows[0][kind]:
            some = [row[kind][matcher] for row in rows]
            n = sum(one["n"] for one in some)
            shares = {
                key: sum(one[key] * one["n"] for one in some) / n
                for key in ("within_25m", "recall_at_1", "recall_at_10")
            }
            kinds.setdefault(kind, {})[matcher] = {
                "n": n,
                **{key: round(value, 4) for key, value in shares.items()},
                "within_25m_interval": [
                    round(x, 4) for x in wilson(round(shares["within_25m"] * n), n)
                ],
                "median_error_m": round(sum(one["median_error_m"] for one in some) / len(some), 1),
            }
    return kinds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="towns per style")
    parser.add_argument("--all-styles", action="store_true", help="every style, seen and unseen")
    parser.add_argument("--pictures", type=int, default=200, help="panoramas per town")
    parser.add_argument("--model", default="town")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--train-plain", type=Path, help="folder for the plain network's run")
    parser.add_argument("--plain-steps", type=int, default=3600, help="about 30 minutes on 2 cores")
    return parser.parse_args()


def _styles(wanted: argparse.Namespace) -> tuple[str, ...]:
    return (*SEEN_STYLES, UNSEEN_STYLE) if wanted.all_styles else (PLAIN_STYLE, UNSEEN_STYLE)


def _list_runs(wanted: argparse.Namespace) -> Iterator[DemoSettings]:
    for style in _styles(wanted):
        for n in range(wanted.seeds):
            yield DemoSettings(
                style=style,
                seed=FIRST_TEST_SEED + n,
                pictures=wanted.pictures,
                extras=wanted.pictures // 4,
                model=wanted.model,
                baselines=not wanted.no_baselines,
            )


def _plain(wanted: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train the plain network on one style and measure it on unseen towns of that style."""
    run = wanted.train_plain / "run"
    table = ensure_pairs(wanted.train_plain / "pairs", PLAIN_PLAN)
    page = Path(__file__).with_name("_plain.py")
    command = ["train", "--method", str(page), "--data", f"pairs:{table}", "--out", str(run)]
    steps = ["--steps", str(wanted.plain_steps), "--quiet"]
    crossview = [sys.executable, "-m", "crossview"]
    subprocess.run([*crossview, *command, *steps], check=True)
    model = wanted.train_plain / "model"
    subprocess.run([*crossview, "export", str(run), "--out", str(model)], check=True)
    runs = [
        DemoSettings(
            style=PLAIN_STYLE, seed=FIRST_TEST_SEED + n, pictures=200, extras=1,
            stride_m=PLAIN_STRIDE_M, model=str(model), baselines=False,
        )
        for n in range(2)
    ]  # fmt: skip
    rows = [run_demo(settings, folder / f"plain-{n}") for n, settings in enumerate(runs)]
    kinds = pooled(rows)
    return {kind: kinds[kind]["model"] for kind in KINDS} | {"tiles": rows[0]["tiles"]}


def _ratios(seen: dict[str, Any], plain: dict[str, Any] | None) -> dict[str, float]:
    ours = sum(seen[kind]["model"]["within_25m"] for kind in KINDS)
    peers = {
        f"vs_{name}": sum(seen[kind][name]["within_25m"] for kind in KINDS)
        for name in seen[KINDS[0]]
        if name != "model"
    }
    if plain is not None:
        peers["vs_plain"] = sum(plain[kind]["within_25m"] for kind in KINDS)
    return {name: ours / max(share, 1e-3) for name, share in peers.items()}


def _line(row: dict[str, Any]) -> str:
    ours = {kind: row[kind]["model"] for kind in KINDS}
    figures = ", ".join(
        f"{kind} {one['within_25m']:.1%} ({one['median_error_m']:.0f} m)"
        for kind, one in ours.items()
    )
    return f"{row['style']} {row['seed']}: {row['tiles']} tiles, {figures}, {row['seconds']:.0f} s"


if __name__ == "__main__":
    main()
