"""CVACT: panoramas and satellite pictures of Canberra (Liu and Li, OriCNN, CVPR 2019).

35,532 pairs to train on (of which one picture was never published: 35,531), 8,884 to validate, and
92,802 to test. Panoramas 1664 x 832 with north in the middle column; satellite pictures 1200 x 1200
of zoom 20, centred on the camera, north up. Coordinates: UTM, zone 55 south.
The 5-metre rule of its authors for the test split belongs to evaluation (metres between the places
of this table). Access to the pictures and their licence: docs/datasets.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossview.arrays import F64
from crossview.errors import BadData
from crossview.geo.grids import convert_rows_to_latlon
from crossview.geo.mercator import compute_ground_px_m
from crossview.pairs import official_lists
from crossview.pairs.table import Framing, PairTable

LICENCE = "research; asked for at the authors (docs/datasets.md)"
LISTS = "ACT_data.mat"
SMALL, TEST = "ANU_data_small", "ANU_data_test"
GROUND, AERIAL = "streetview/{}_grdView.jpg", "satview_polish/{}_satView_polish.jpg"
SETS = {"train": ("trainSet", "trainInd"), "val": ("valSet", "valInd")}
NEVER_PUBLISHED = 1  # pictures of the training list
CRS, ZOOM = "EPSG:32755", 20
FRAMING = Framing(
    file_elevation_deg=(-90.0, 90.0),
    keep_rows=(0.25, 0.75),  # 208 to 623 of 832: the prepared panoramas of SAFA and GeoDTR,
    ground_resize="area",  # brought to their size before training
    footprint_m=146.0,  # 1200 pixels at Canberra's 35 degrees south
    aerial_px=1200,
)
EASTING, NORTHING = (100_000.0, 900_000.0), (1_100_000.0, 10_000_000.0)
OFFICIAL = {"train": 35_531, "val": 8_884, "test": 92_802}


def list_counts() -> dict[str, official_lists.Counts]:
    """The official numbers of pairs."""
    return {
        name: official_lists.Counts(ground=n, aerial=n, pairs=n) for name, n in OFFICIAL.items()
    }


def list_layout(root: Path) -> list[official_lists.Part]:
    """The files and folders that should be below ``root``."""
    parts = [official_lists.Part(path=LISTS, holds="ids, coordinates and splits")]
    for folder, files in ((SMALL, 0), (TEST, OFFICIAL["test"])):
        for pattern in (GROUND, AERIAL):
            path, _, name = f"{folder}/{pattern}".rpartition("/")
            holds = "panoramas" if pattern == GROUND else "satellite pictures"
            parts.append(
                official_lists.Part(path=path, holds=f"{holds} {name.format('ID')}", files=files)
            )
    return parts


def load(root: Path, *, check_files: bool = True) -> dict[str, PairTable]:
    """``train`` and ``val``, and ``test`` if its folder exists; BadData names file and row.

    ``test`` is every id of which both pictures are in the folder, sorted: the rule by which recent
    papers count 92,802. ``check_files``: whether the pictures of the other splits must exist.
    """
    path = root / LISTS
    mat = official_lists.read_matlab(path, ("panoIds", "utm", *(name for name, _ in SETS.values())))
    names = official_lists.read_texts(path, mat, "panoIds")
    places = _convert_places(path, names, official_lists.read_numbers(path, mat, "utm"))
    tables = {}
    for split, (name, field) in SETS.items():
        rows = official_lists.read_indices(path, mat, name, field, len(names))
        wheres = [f"{path}, {name}.{field}, row {n}" for n in range(1, len(rows) + 1)]
        official_lists.number_names(zip(wheres, (names[row] for row in rows), strict=True), "id")
        if check_files:
            rows = _keep_present(
                root, names, rows, wheres, NEVER_PUBLISHED if split == "train" else 0
            )
        tables[split] = _build_table(root, SMALL, names, places, rows)
    if (root / TEST).is_dir():
        tables["test"] = _build_table(root, TEST, names, places, _find_test_rows(root, names))
    return tables


def _keep_present(
    root: Path, names: list[str], rows: list[int], wheres: list[str], tolerated: int
) -> list[int]:
    """The rows whose two pictures exist; BadData if more than ``tolerated`` lack one."""
    folders = [(root / SMALL / p).parent for p in (GROUND, AERIAL)]
    listings = [official_lists.list_names(folder) for folder in folders]
    kept, files = [], []
    for row, where in zip(rows, wheres, strict=True):
        pair = [root / SMALL / p.format(names[row]) for p in (GROUND, AERIAL)]
        if all(path.name in listing for path, listing in zip(pair, listings, strict=True)):
            kept.append(row)
        else:
            files += [(where, path) for path in pair]
    if len(rows) - len(kept) > tolerated:
        official_lists.require_files(files)
    return kept


def _find_test_rows(root: Path, names: list[str]) -> list[int]:
    stems = []
    for pattern in (GROUND, AERIAL):
        path = root / TEST / pattern
        end = path.name.removeprefix("{}")
        listing = official_lists.list_data(path.parent)
        stems.append({name.removesuffix(end) for name in listing if name.endswith(end)})
    if not (both := sorted(stems[0] & stems[1])):
        raise BadData(
            f"{root / TEST}: no id has both of its pictures; the split is empty.\n"
            f"{official_lists.HELP}"
        )
    row_of = {name: row for row, name in enumerate(names)}
    if unknown := [name for name in both if name not in row_of]:
        raise BadData(
            f"{root / TEST}: {unknown[0]} is not an id of {root / LISTS} ({len(names)} ids)."
        )
    return [row_of[name] for name in both]


def _build_table(
    root: Path, folder: str, names: list[str], places: F64, rows: list[int]
) -> PairTable:
    ids = [names[row] for row in rows]
    here = places[rows].reshape(-1, 2)
    return official_lists.make_table(
        [root / folder / GROUND.format(name) for name in ids],
        [root / folder / AERIAL.format(name) for name in ids],
        [(i, i) for i in range(len(ids))],
        metres_per_px=compute_ground_px_m(here[:, 0], ZOOM),
        heading_deg=0.0,
        fov_deg=360.0,
        framing=FRAMING,
        ground_latlon=here,
        aerial_latlon=here,
        root=root,
    )


def _convert_places(path: Path, names: list[str], utm: F64) -> F64:
    """[N, 2] degrees of [N, 2] metres in either order: northings are the larger ones."""
    if utm.shape != (len(names), 2):
        raise BadData(f"{path}: utm has shape {list(utm.shape)}; expected {[len(names), 2]}.")
    east, north = np.sort(utm, axis=1).T
    wrong = ~((EASTING[0] <= east) & (east <= EASTING[1]))
    wrong |= ~((NORTHING[0] <= north) & (north <= NORTHING[1]))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadData(
            f"{path}, utm, row {row + 1} ({names[row]}): {utm[row].tolist()} is not an easting and "
            f"northing of {CRS} in metres."
        )
    return convert_rows_to_latlon(CRS, east, north)
