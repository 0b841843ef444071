"""Pictures of what was found: masks of one pair, distance distributions, courses of trainings.

One call that looks at a trained network from all sides and keeps pictures and numbers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from crossview.arrays import F32, F64, I64, U8
from crossview.errors import BadModel
from crossview.explain.masks import (
    compute_distances,
    compute_masks,
    has_masks,
    measure_alignment,
    measure_layout_recalls,
    render_views,
)
from crossview.files import atomic_write
from crossview.pairs.loading import Reader
from crossview.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLOURS = ("#1b6ca8", "#8a8a8a", "#d1495b", "#edae49", "#66a182", "#7b4b94")


def draw_masks(path: Path, views: tuple[U8, U8], masks: tuple[F32, F32]) -> None:
    """One pair: the two views [h, w, 3] on top, below them the masks [K, h, w] side by side.

    Both columns of pictures span the same azimuths; from above, the bottom row is the camera.
    """
    count = len(masks[0])
    figure, axes = _figure(count + 1, 2, (9.0, 1.15 * (count + 1)))
    for column, (view, own, title) in enumerate(
        zip(views, masks, ("ground", "from above, unrolled"), strict=True)
    ):
        axes[0][column].imshow(view)
        axes[0][column].set_title(title, fontsize=9)
        for k in range(count):
            axes[k + 1][column].imshow(own[k], cmap="viridis", aspect="auto")
        for axis in (row[column] for row in axes):
            axis.set_xticks([])
            axis.set_yticks([])
    for k in range(count):
        axes[k + 1][0].set_ylabel(f"{k + 1}", rotation=0, labelpad=8, fontsize=8)
    _save(figure, path)


def draw_distances(path: Path, distances: Mapping[str, F32]) -> None:
    """Histograms of the distances of each kind on one axis, 0 to 4 (GeoDTR+, Figure 10)."""
    figure, axes = _figure(1, 1, (7.0, 3.4))
    bins = np.linspace(0.0, max(2.4, float(max(d.max() for d in distances.values()))), 61)
    for (name, values), colour in zip(distances.items(), COLOURS, strict=True):
        label = f"{name}, mean {values.mean():.2f}"
        axes[0][0].hist(values, bins, histtype="step", label=label, color=colour, linewidth=1.6)
    axes[0][0].set_xlabel("distance to the aerial picture (2 - 2 cosine)")
    axes[0][0].set_ylabel("pictures")
    axes[0][0].legend(fontsize=8, frameon=False)
    _save(figure, path)


def draw_courses(path: Path, runs: Sequence[Path]) -> None:
    """The loss of several trainings, smoothed, step by step (GeoDTR+, Figure 9)."""
    figure, axes = _figure(1, 1, (7.0, 3.4))
    for number, run in enumerate(runs):
        steps, losses = course(run)
        smooth = _smooth(losses, max(1, len(losses) // 50))
        colour = COLOURS[number % len(COLOURS)]
        axes[0][0].plot(steps[: len(smooth)], smooth, label=run.name, color=colour, linewidth=1.4)
    axes[0][0].set_xlabel("step")
    axes[0][0].set_ylabel("loss")
    axes[0][0].set_yscale("log")
    axes[0][0].legend(fontsize=8, frameon=False)
    _save(figure, path)


def course(run: Path) -> tuple[I64, F64]:
    """Steps and losses of a training's log; BadModel where there is none."""
    folder = RunFolder(run)
    if not folder.log.is_file():
        raise BadModel(f"{run} has no log.jsonl: not a training, or an imported one.")
    entries = [entry for entry in folder.entries()[0] if "loss" in entry]
    if not entries:
        raise BadModel(f"{folder.log} holds no step of a training.")
    try:
        steps, losses = [int(e["step"]) for e in entries], [float(e["loss"]) for e in entries]
    except (KeyError, TypeError, ValueError) as problem:
        raise BadModel(f"{folder.log} is damaged: a step or a loss is no number.") from problem
    return np.array(steps), np.array(losses)


def _smooth(values: F64, width: int) -> F64:
    total = np.cumsum(np.insert(values, 0, 0.0))
    return np.asarray((total[width:] - total[:-width]) / width)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=size, dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


SUMMARY_NAME = "explain.json"


def explain(
    model: nn.Module, reader: Reader, rows: Sequence[int], out: Path, *, shown: int = 3
) -> dict[str, Any]:
    """Distances of variants, recall in other layouts; of masks their alignment, and some drawn.

    Writes ``distances.png``, ``masks-ROW.png`` and ``explain.json`` into ``out``; returns what the
    last holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    distances = compute_distances(model, reader, rows)
    draw_distances(out / "distances.png", distances)
    record: dict[str, Any] = {"pairs": len(rows)}
    record["distances"] = {
        name: {"mean": float(d.mean()), "median": float(np.median(d)), "std": float(d.std())}
        for name, d in distances.items()
    }
    record["recall"] = measure_layout_recalls(model, reader, rows)
    if has_masks(model):
        masks = compute_masks(model, reader, rows)
        record["alignment"] = asdict(measure_alignment(masks))
        ground = reader.views.ground
        size = (ground.height_px // 2, ground.width_px)
        for place in range(min(shown, len(rows))):
            pair = (masks.ground[place], masks.aerial[place])
            path = out / f"masks-{rows[place]}.png"
            draw_masks(path, render_views(reader, rows[place], size), pair)
    atomic_write(out / SUMMARY_NAME, json.dumps(record, indent=2) + "\n")
    return record


def explain_courses(runs: Sequence[Path], out: Path) -> None:
    """``courses.png``: the losses of these trainings."""
    out.mkdir(parents=True, exist_ok=True)
    draw_courses(out / "courses.png", runs)
