"""A grid of overlapping coloured tiles, as VIGOR's: a match and three near-misses a place."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from crossview.geo.points import LatLon, move_point

SIDE_M, STEP_M, SIDE_PX = 60.0, 30.0, 48
ORIGIN = LatLon(48.0, 9.0)


def write_tiles(folder: Path, places: int = 12, *, across: int = 5, splits=("train",)) -> Path:
    """``pairs.csv`` of ``across`` x ``across`` tiles and ``places`` panoramas for each split."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    ground = rng.integers(0, 255, (across + 1, across + 1, 3)).repeat(24, 0).repeat(24, 1)
    names = {}
    for row in range(across):
        for column in range(across):
            name = f"a{row}-{column}.png"
            square = ground[24 * row : 24 * row + SIDE_PX, 24 * column : 24 * column + SIDE_PX]
            Image.fromarray(square.astype(np.uint8)).save(folder / name)
            at = move_point(ORIGIN, east_m=column * STEP_M, north_m=-row * STEP_M)
            names[row, column] = (name, at)
    rows = []
    for split in splits:
        for n in range(places):
            south, east = rng.uniform(0.5, across - 1.5, 2)
            camera = move_point(ORIGIN, east_m=east * STEP_M, north_m=-south * STEP_M)
            at = round(south * 24 + 24), round(east * 24 + 24)
            colour = ground[at[0], at[1]]
            noise = rng.integers(-20, 20, (32, 64, 3))
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(
                folder / f"{split}{n}.png"
            )
            near = sorted(
                ((abs(r - south) + abs(c - east), (r, c)) for r, c in names
                 if abs(r - south) < 1 and abs(c - east) < 1)
            )  # fmt: skip
            best = (round(south), round(east))
            for _, key in near:
                name, middle = names[key]
                rows.append({
                    "ground": f"{split}{n}.png", "aerial": name, "split": split,
                    "relation": "match" if key == best else "ignore",
                    "ground_lat": f"{camera.lat:.9f}", "ground_lon": f"{camera.lon:.9f}",
                    "aerial_lat": f"{middle.lat:.9f}", "aerial_lon": f"{middle.lon:.9f}",
                    "metres_per_px": SIDE_M / SIDE_PX, "heading_deg": 0, "fov_deg": 360,
                })  # fmt: skip
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
