"""One call that looks at a trained network from all sides and keeps pictures and numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from crossview.explain.alignment import alignment
from crossview.explain.mask_figures import draw_courses, draw_distances, draw_masks
from crossview.explain.masks import distances_of, has_masks, masks_of, views_of
from crossview.explain.relaid import relaid_recalls
from crossview.files import atomic_write
from crossview.pairs.loading import Reader

SUMMARY_NAME = "explain.json"


def explain(
    model: nn.Module, reader: Reader, rows: Sequence[int], out: Path, *, shown: int = 3
) -> dict[str, Any]:
    """Distances of variants, recall in other layouts; of masks their alignment, and some drawn.

    Writes ``distances.png``, ``masks-ROW.png`` and ``explain.json`` into ``out``; returns what the
    last holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    distances = distances_of(model, reader, rows)
    draw_distances(out / "distances.png", distances)
    told: dict[str, Any] = {"pairs": len(rows)}
    told["distances"] = {
        name: {"mean": float(d.mean()), "median": float(np.median(d)), "std": float(d.std())}
        for name, d in distances.items()
    }
    told["recall"] = relaid_recalls(model, reader, rows)
    if has_masks(model):
        masks = masks_of(model, reader, rows)
        told["alignment"] = asdict(alignment(masks))
        ground = reader.views.ground
        size = (ground.height_px // 2, ground.width_px)
        for place in range(min(shown, len(rows))):
            pair = (masks.ground[place], masks.aerial[place])
            path = out / f"masks-{rows[place]}.png"
            draw_masks(path, views_of(reader, rows[place], size), pair)
    atomic_write(out / SUMMARY_NAME, json.dumps(told, indent=2) + "\n")
    return told


def explain_courses(runs: Sequence[Path], out: Path) -> None:
    """``courses.png``: the losses of these trainings."""
    out.mkdir(parents=True, exist_ok=True)
    draw_courses(out / "courses.png", runs)
