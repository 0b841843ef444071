"""CVUSA: panoramas and aerial pictures from all over the USA (Workman et al., ICCV 2015).

The subset and lists of Zhai et al., CVPR 2017 (``CVPR_subset``), which every paper uses: 35,532
pairs to train on; the 8,884 of the validation list are what papers test on, so they are ``test``.
Panoramas 1232 x 224 with north in the middle column; aerial pictures 750 x 750 of zoom 19, north
up. Ids are numbers of 7 digits; row id - 1 of ``split_locations/all.csv`` has the place. Access to
the pictures and their licence: docs/datasets.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F64
from crossview.errors import BadData
from crossview.geo.mercator import compute_ground_px_m
from crossview.locks import write_alone
from crossview.pairs import official_lists
from crossview.pairs.table import Framing, PairTable

LICENCE = "research; asked for at the authors (docs/datasets.md)"
LISTS = {"train": "splits/train-19zl.csv", "test": "splits/val-19zl.csv"}
CLEANED = "-cleaned"  # what crossview data dedup adds to the name of a list
LOCATIONS = "split_locations/all.csv"
ZOOM = 19
MOST_DIGITS = 18  # of an id; Python refuses to read numbers of thousands of digits
FRAMING = Framing(
    file_elevation_deg=(
        -32.7,
        32.7,
    ),  # 1232 x 224 pixels of 360 / 1232 degrees, horizon in the middle
    keep_rows=(0.0, 1.0),
    footprint_m=176.0,  # 750 pixels at 38 degrees north, the middle of the USA; 150 to 195
    aerial_px=750,
)
OFFICIAL = {"train": 35_532, "test": 8_884}
CLEAN_TRAIN = 34_769
PICTURES = sum(OFFICIAL.values())


def list_counts(cleaned: bool = False) -> dict[str, official_lists.Counts]:
    """The official numbers; of the cleaned list, those of the one that GeoDTR+ published."""
    numbers = {**OFFICIAL, "train": CLEAN_TRAIN} if cleaned else OFFICIAL
    return {name: official_lists.Counts(ground=n, aerial=n, pairs=n) for name, n in numbers.items()}


def list_layout(root: Path, cleaned: bool = False) -> list[official_lists.Part]:
    """The files and folders that should be below ``root``."""
    lists = [
        official_lists.Part(path=_name_list(split, cleaned), holds=f"list of split {split}")
        for split in LISTS
    ]
    return [
        *lists,
        official_lists.Part(path="bingmap/19", holds="aerial pictures ID.jpg", files=PICTURES),
        official_lists.Part(path="streetview/panos", holds="panoramas ID.jpg", files=PICTURES),
        official_lists.Part(path=LOCATIONS, holds="where each pair was taken", needed=False),
    ]


def load(root: Path, *, check_files: bool = True, cleaned: bool = False) -> dict[str, PairTable]:
    """The tables ``train`` and ``test``; BadData names the list and the row.

    ``cleaned``: train on the list that ``crossview data dedup`` wrote, test on all, as GeoDTR+.
    Without the locations, places and metres per pixel are unknown. ``check_files``: whether every
    listed picture must exist.
    """
    places = _read_places(root / LOCATIONS)
    return {
        split: _build_table(root, _name_list(split, cleaned), places, check_files)
        for split in LISTS
    }


def write_cleaned(root: Path, split: str, rows: Sequence[int]) -> Path:
    """Write a list with only these rows of a split beside its official one, and return its path."""
    path = root / _name_cleaned(LISTS[split])
    cells = [cells for _, cells in official_lists.read_list(root / LISTS[split], 3)]
    text = "".join(",".join(cells[row]) + "\n" for row in rows)
    write_alone(path, text, "crossview data dedup")
    return path


def _name_list(split: str, cleaned: bool) -> str:
    return _name_cleaned(LISTS[split]) if cleaned and split == "train" else LISTS[split]


def _name_cleaned(name: str) -> str:
    return name.replace(".csv", f"{CLEANED}.csv")


def _build_table(root: Path, name: str, places: F64 | None, check_files: bool) -> PairTable:
    rows = official_lists.read_list(root / name, 3)
    numbers = [_read_id(where, cells) for where, cells in rows]
    official_lists.number_names(
        ((where, str(n)) for (where, _), n in zip(rows, numbers, strict=True)), "id"
    )
    aerial = [root / cells[0] for _, cells in rows]
    ground = [root / cells[1] for _, cells in rows]
    if check_files:
        wheres = [where for where, _ in rows]
        official_lists.require_files(
            [*zip(wheres, aerial, strict=True), *zip(wheres, ground, strict=True)]
        )
    columns: dict[str, Any] = {"heading_deg": 0.0, "fov_deg": 360.0, "root": root}
    if places is not None:
        if (highest := max(numbers)) > len(places):
            where = rows[numbers.index(highest)][0]
            raise BadData(
                f"{where}: id {highest}, but {root / LOCATIONS} has only {len(places)} rows."
            )
        here = places[np.array(numbers) - 1]
        columns |= {"aerial_latlon": here[:, :2], "ground_latlon": here[:, 2:]}
        columns |= {"metres_per_px": compute_ground_px_m(here[:, 0], ZOOM)}
    return official_lists.make_table(
        ground, aerial, [(i, i) for i in range(len(rows))], framing=FRAMING, **columns
    )


def _read_id(where: str, cells: list[str]) -> int:
    """The id of a row: the stem of both of its pictures, a number from 1."""
    aerial, ground = Path(cells[0]).stem, Path(cells[1]).stem
    if not aerial.isdecimal() or len(aerial) > MOST_DIGITS or int(aerial) < 1:
        raise BadData(
            f"{where}: {cells[0]} is not named by an id; expected bingmap/19/0000001.jpg."
        )
    if aerial != ground:
        raise BadData(f"{where}: {aerial} has no partner; the panorama is {ground}.")
    return int(aerial)


def _read_places(path: Path) -> F64 | None:
    """[ids, 4] degrees: aerial latitude and longitude, ground latitude and longitude."""
    if not path.is_file():
        return None
    rows = official_lists.read_list(path, 5)
    places = [
        [
            *official_lists.parse_place(c[0], c[1], where),
            *official_lists.parse_place(c[2], c[3], where),
        ]
        for where, c in rows
    ]
    return np.array(places, dtype=np.float64)
