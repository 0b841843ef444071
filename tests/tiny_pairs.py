"""A few coloured places as pairs.csv: enough to train on for seconds, too little to be hard."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def write_pairs(folder: Path, places: int = 24, *, val: int = 0, extra: dict | None = None) -> Path:
    """``places`` one-to-one pairs 50 m apart, the last ``val`` of them in split val."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in range(places):
        colour = rng.integers(0, 190, 3)
        _save(folder / f"g{n}.png", colour + rng.integers(0, 60, (32, 64, 3)))
        _save(folder / f"a{n}.png", colour + rng.integers(0, 60, (64, 64, 3)))
        rows.append(
            {
                "ground": f"g{n}.png",
                "aerial": f"a{n}.png",
                "split": "val" if n >= places - val else "train",
                "ground_lat": 60 + n * 4.5e-4,
                "ground_lon": 10,
                "metres_per_px": 1.25,
                "heading_deg": 0,
                **(extra or {}),
            }
        )
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
