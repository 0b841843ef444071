"""``crossview demo``: see it work on a synthetic town, in a few minutes, without a download."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from crossview.cli import console


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo-out"),
    style: Annotated[str, typer.Option(help="Style of the town.")] = "suburb",
    seed: Annotated[
        int, typer.Option(help="Number of the town; from 20000 on, none was trained on.")
    ] = (20_000),
    pictures: Annotated[int, typer.Option(help="Panoramas to locate, and as many photos.")] = 200,
    model: Annotated[str, typer.Option(help="Packaged model or model folder.")] = "town",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Render a town, index it, locate 400 unseen pictures, and write the map page."""
    from crossview.demo import DemoSettings, run_demo

    trip = DemoSettings(
        style=style, seed=seed, pictures=pictures, extras=max(1, pictures // 4), model=model
    )
    summary = run_demo(trip, out, lambda text: console.note(text, quiet=quiet))
    console.print_result("\n".join(_format_summary(summary, out)))


def _format_summary(summary: dict[str, Any], out: Path) -> list[str]:
    title = (
        f"Synthetic town {summary['town_version']}, style {summary['style']}, "
        f"seed {summary['seed']}: {summary['area_km2']:.2f} km2, {summary['tiles']} tiles, "
        f"chance of the first place within 25 m about {_chance(summary):.1%}."
    )
    columns = f"{'pictures':26}{'matcher':18}{'n':>5}{'25 m':>8}{'median':>9}{'R@1':>8}{'R@10':>8}"
    lines = [title, "", columns]
    for kind, matchers in summary.items():
        if not isinstance(matchers, dict):
            continue
        for name, row in matchers.items():
            lines.append(
                f"{kind:26}{name:18}{row['n']:>5}{row['within_25m']:>8.1%}"
                f"{row['median_error_m']:>7.0f} m{row['recall_at_1']:>8.1%}"
                f"{row['recall_at_10']:>8.1%}"
            )
    return [
        *lines,
        "",
        "The heading of every picture was unknown to the matchers. This is a synthetic town: the",
        "figures say nothing about photos of Earth.",
        f"Map: {(out / 'map.html').resolve().as_uri()}",
        f"Figures: {out / 'summary.json'}",
    ]


def _chance(summary: dict[str, Any]) -> float:
    return math.pi * 25.0**2 / (float(summary["area_km2"]) * 1e6)
