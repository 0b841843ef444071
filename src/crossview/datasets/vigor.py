"""VIGOR: panoramas anywhere in a tile, in four cities (Zhu, Yang, Chen, CVPR 2021).

Every panorama has one positive tile (the camera in its central quarter) and three semi-positives
(the camera in their outer parts). Tiles cover the cities; many have no panorama, and belong to the
gallery too. Same-area: train and test in all cities; cross-area: train in New York and Seattle,
test in San Francisco and Chicago. Panoramas 2048 x 1024, north in the middle column; tiles
640 x 640 of zoom 20, north up. ``corrected``: pixel offsets for the true metres per pixel, by
Lentsch et al. (SliceMatch, CVPR 2023); which tiles are positive is the same. Access and licence:
docs/datasets.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossview.errors import BadData
from crossview.geo.mercator import compute_ground_px_m
from crossview.lists import number
from crossview.pairs import official_lists
from crossview.pairs.table import Framing, PairTable

LICENCE = "academic research only, not to be distributed (docs/datasets.md)"
CITIES = ("Chicago", "NewYork", "SanFrancisco", "Seattle")
CROSS = {"train": ("NewYork", "Seattle"), "test": ("Chicago", "SanFrancisco")}
SAME = {"train": CITIES, "test": CITIES}
ZOOM, HALF_PX = 20, 320.0
FRAMING = Framing(
    file_elevation_deg=(-90.0, 90.0),
    keep_rows=(0.0, 1.0),
    footprint_m=71.0,  # 640 pixels, mean over panoramas; Seattle 64, San Francisco 76
    aerial_px=640,
)
TILES = {"Chicago": 22_308, "NewYork": 23_279, "SanFrancisco": 24_255, "Seattle": 20_776}
PANORAMAS = {"Chicago": 25_479, "NewYork": 27_769, "SanFrancisco": 28_215, "Seattle": 23_751}
OFFICIAL = {  # panoramas, tiles
    "same": {"train": (52_609, 90_618), "test": (52_605, 90_618)},
    "cross": {"train": (51_520, 44_055), "test": (53_694, 46_563)},
}


def list_counts(area: str, corrected: bool = False) -> dict[str, official_lists.Counts]:
    """The official numbers; every panorama has one match."""
    numbers = OFFICIAL[area].items()
    return {name: official_lists.Counts(ground=p, aerial=t, pairs=p) for name, (p, t) in numbers}


def list_layout(root: Path, area: str, corrected: bool = False) -> list[official_lists.Part]:
    """The files and folders that should be below ``root``, in either published layout."""
    parts = []
    cities = SAME if area == "same" else CROSS
    for city in CITIES:
        panoramas, tiles = (
            f"{city}/panorama or ground/{city}",
            f"{city}/satellite or satellite/{city}",
        )
        parts.append(official_lists.Part(path=panoramas, holds="panoramas", files=PANORAMAS[city]))
        parts.append(official_lists.Part(path=tiles, holds="tiles", files=TILES[city]))
        folder = f"{_name_splits(corrected)}/{city}"
        parts.append(
            official_lists.Part(path=f"{folder}/satellite_list.txt", holds="list of its tiles")
        )
        names = dict.fromkeys(_name_labels(s, area, corrected) for s in cities if city in cities[s])
        parts += [official_lists.Part(path=f"{folder}/{name}", holds="labels") for name in names]
    return parts


def load(
    root: Path, *, check_files: bool = True, area: str, corrected: bool = False
) -> dict[str, PairTable]:
    """The tables ``train`` and ``test``; BadData names the list and the row.

    ``ignored`` holds the semi-positives: the papers' hit rate leaves them out, their R@K does not.
    """
    cities = SAME if area == "same" else CROSS
    return {
        split: _build_table(
            root, names, _name_labels(split, area, corrected), corrected, check_files
        )
        for split, names in cities.items()
    }


def _name_splits(corrected: bool) -> str:
    return "splits__corrected" if corrected else "splits"


def _name_labels(split: str, area: str, corrected: bool) -> str:
    name = f"same_area_balanced_{split}" if area == "same" else "pano_label_balanced"
    return f"{name}{'__corrected' if corrected else ''}.txt"


def _find_folder(root: Path, city: str, ours: str, theirs: str) -> Path:
    """VIGOR's own layout, or the one of Sample4Geo."""
    swapped = root / theirs / city
    return swapped if swapped.is_dir() else root / city / ours


def _build_table(
    root: Path, cities: tuple[str, ...], labels: str, corrected: bool, check_files: bool
) -> PairTable:
    tiles: list[tuple[str, Path]] = []
    rows: list[tuple[str, Path, list[str]]] = []
    for city in cities:
        lists = root / _name_splits(corrected) / city
        folder = _find_folder(root, city, "satellite", "satellite")
        tiles += [
            (w, folder / c[0])
            for w, c in official_lists.read_list(lists / "satellite_list.txt", 1, None)
        ]
        folder = _find_folder(root, city, "panorama", "ground")
        rows += [
            (w, folder / c[0], c) for w, c in official_lists.read_list(lists / labels, 13, None)
        ]
    tile_of = official_lists.number_names(((where, path.name) for where, path in tiles), "tile")
    official_lists.number_names(((where, path.name) for where, path, _ in rows), "panorama")
    if check_files:
        official_lists.require_files([*tiles, *((where, path) for where, path, _ in rows)])
    matches = [[_find_tile(tile_of, c[i], where) for i in (1, 4, 7, 10)] for where, _, c in rows]
    aerial_latlon = np.array([_read_place(where, path, "_") for where, path in tiles])
    near = [(n, tile) for n, (_, *others) in enumerate(matches) for tile in others]
    aside = [_read_offset(where, c, n) for where, _, c in rows for n in (1, 2, 3)]
    return official_lists.make_table(
        [path for _, path, _ in rows],
        [path for _, path in tiles],
        [(n, tile) for n, (tile, *_) in enumerate(matches)],
        ignored=near,
        ground_latlon=np.array([_read_place(where, path, ",") for where, path, _ in rows]),
        aerial_latlon=aerial_latlon,
        metres_per_px=compute_ground_px_m(aerial_latlon[:, 0], ZOOM),
        heading_deg=0.0,
        fov_deg=360.0,
        offset_px=np.array([_read_offset(where, cells, 0) for where, _, cells in rows]),
        ignored_offset_px=np.array(aside),
        framing=FRAMING,
        root=root,
    )


def _find_tile(tile_of: dict[str, int], name: str, where: str) -> int:
    if name not in tile_of:
        raise BadData(f"{where}: {name} has no partner: it is not in satellite_list.txt.")
    return tile_of[name]


def _read_place(where: str, path: Path, separator: str) -> tuple[float, float]:
    """Latitude and longitude out of ``satellite_LAT_LON.png`` or ``ID,LAT,LON,.jpg``."""
    parts = (path.stem if separator == "_" else path.name).split(separator)
    if len(parts) < 3:
        raise BadData(f"{where}: {path.name} does not name a latitude and longitude.")
    return official_lists.parse_place(parts[1], parts[2], where)


def _read_offset(where: str, cells: list[str], tile: int) -> tuple[float, float]:
    """Rows down and columns right of the centre of the positive (0) or a semi-positive tile (1-3).

    The list counts columns to the left. By the corrected labels the camera may stand a little
    beyond a semi-positive tile.
    """
    reach = HALF_PX if tile == 0 else 2.0 * HALF_PX
    down, left = (
        number("pixel offset", cells[3 * tile + n], (-reach, reach), where) for n in (2, 3)
    )
    return down, -left
