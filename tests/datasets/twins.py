"""Miniature twins of the official data sets: the exact folders, names and lists, tiny pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CITIES = {"Chicago": (41.85, -87.69), "NewYork": (40.7, -74.0)}
CITIES |= {"SanFrancisco": (37.74, -122.45), "Seattle": (47.6, -122.3)}


def picture(path: Path, width: int = 32, height: int = 16, seed: int = 0) -> Path:
    """A small noisy picture of the format that its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, *path.name.encode()])
    pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def lines(path: Path, rows: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def cvusa(root: Path, train: int = 6, test: int = 3, *, locations: bool = True) -> Path:
    """``CVPR_subset`` with ids 1..train+test, test ids first."""
    ids = [f"{n:07d}" for n in range(1, train + test + 1)]
    for name in ids:
        picture(root / f"bingmap/19/{name}.jpg", 24, 24)
        picture(root / f"streetview/panos/{name}.jpg", 44, 8)
    row = "bingmap/19/{0}.jpg,streetview/panos/{0}.jpg,streetview/annotations/{0}.png"
    lines(root / "splits/val-19zl.csv", (row.format(n) for n in ids[:test]))
    lines(root / "splits/train-19zl.csv", (row.format(n) for n in ids[test:]))
    if locations:
        spots = (f"{30 + n},{-100 - n},{30.0001 + n},{-100 - n},0.5" for n in range(len(ids)))
        lines(root / "split_locations/all.csv", spots)
    return root


def cvact(root: Path, train: int = 5, val: int = 3, test: int = 4, **changes: Any) -> Path:
    """``ACT_data.mat`` and both folders; ``changes`` replace variables of the .mat file."""
    from scipy.io import savemat

    names = [f"pano{'abcdefghijklmnop'[n]}_-{n}" for n in range(train + val + test)]
    for n, name in enumerate(names):
        folder = root / ("ANU_data_test" if n >= train + val else "ANU_data_small")
        picture(folder / f"streetview/{name}_grdView.jpg")
        picture(folder / f"satview_polish/{name}_satView_polish.jpg", 24, 24)

    def chosen(field: str, rows: range) -> dict[str, Any]:
        return {"number": len(rows), field: np.array(rows)[:, None] + 1}

    spots = [[693_000.0 + 4 * n, 6_092_000.0 + 3 * n] for n in range(len(names))]
    variables = {
        "panoIds": np.array(names),
        "utm": np.array(spots),
        "trainSet": chosen("trainInd", range(train)),
        "valSet": chosen("valInd", range(train, train + val)),
        "valSetAll": chosen("valInd", range(train, len(names))),
    }
    savemat(root / "ACT_data.mat", {**variables, **changes})
    return root


def vigor(root: Path, *, swapped: bool = False, corrected: bool = False) -> Path:
    """Four cities of 6 tiles and 4 panoramas each (2 to train on), in either published layout."""
    end, splits = ("__corrected", "splits__corrected") if corrected else ("", "splits")
    for city, (lat, lon) in CITIES.items():
        folders = (f"ground/{city}", f"satellite/{city}") if swapped else None
        ground, aerial = folders or (f"{city}/panorama", f"{city}/satellite")
        tiles = [f"satellite_{lat + 1e-4 * n:.6f}_{lon:.6f}.png" for n in range(6)]
        labels = []
        for n in range(4):
            name = f"{city}-{n},{lat + 1e-4 * n:.6f},{lon:.6f},.jpg"
            picture(root / ground / name)
            near = [tiles[(n + k) % 6] for k in range(4)]
            offsets = [f"{near[k]} {30.0 * k + n} {-20.0 * k + 5}" for k in range(4)]
            labels.append(" ".join([name, *offsets]))
        for name in tiles:
            picture(root / aerial / name, 24, 24)
        lines(root / splits / city / "satellite_list.txt", tiles)
        lines(root / splits / city / f"same_area_balanced_train{end}.txt", labels[:2])
        lines(root / splits / city / f"same_area_balanced_test{end}.txt", labels[2:])
        lines(root / splits / city / f"pano_label_balanced{end}.txt", labels)
    return root


def university(root: Path) -> Path:
    """Buildings 1 to 3 to train on (building 3 without a street), 4 and 5 to ask for, 6 a lure."""
    drones, streets = 3, 2
    for building in ("0001", "0002", "0003"):
        picture(root / f"train/satellite/{building}/{building}.jpg", 24, 24)
        _several(root / f"train/drone/{building}", drones)
        if building != "0003":
            _several(root / f"train/street/{building}", streets)
        _several(root / f"train/google/{building}", 1)
    for building in ("0004", "0005", "0006"):
        _several(root / f"test/gallery_drone/{building}", drones)
        _several(root / f"test/gallery_street/{building}", streets)
        picture(root / f"test/gallery_satellite/{building}/{building}.jpg", 24, 24)
        if building != "0006":
            _several(root / f"test/query_drone/{building}", drones)
            _several(root / f"test/query_street/{building}", 1)
            picture(root / f"test/query_satellite/{building}/{building}.jpg", 24, 24)
    return root


def _several(folder: Path, count: int) -> None:
    for n in range(1, count + 1):
        picture(folder / f"image-{n:02d}.jpeg", 20, 20)


def littered(root: Path) -> int:
    """Leave in every folder what macOS, Windows and network drives leave there; how many files."""
    count = 0
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        held = [path for path in folder.iterdir() if path.is_file()]
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", *(f"._{p.name}" for p in held[:2])):
            (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + b"\0" * 200)
            count += 1
        (folder / "@eaDir").mkdir()
        for path in held[:1]:
            (folder / "@eaDir" / path.name).write_bytes(path.read_bytes())
            count += 1
    return count
