"""Anyone's own pictures: a CSV or Parquet file, one row per relation of a ground and an aerial one.

Columns (* = must be present; a CSV needs a header line):
``ground``*, ``aerial``*  files, relative to the table's folder or absolute
``split``          train (default), val or test
``relation``       match (default) or ignore: a near-miss that is neither right nor wrong
``ground_lat``, ``ground_lon``, ``aerial_lat``, ``aerial_lon``   WGS84 degrees
``metres_per_px``* of the aerial picture, on the ground;  ``up_bearing_deg`` (default 0) of its up
``heading_deg``    azimuth of the ground picture's middle from true north;  ``fov_deg`` horizontal
``kind``           panorama or perspective; where it is empty, a ``fov_deg`` says it (below 360 is
                   perspective), else the picture's file does: its metadata, then its shape
Where pictures are taken whole, the metres across an aerial one are its pixels times metres_per_px,
and the angles of a panorama follow from its shape (``pairs.framing.framing_of``).
Empty cells are unknown. In GeoParquet points may stand for the coordinates (``pairs.rows``). Of
pictures whose kind the table does not tell, the header is read here, and no pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadData
from crossview.lists import LATITUDE_DEG, LONGITUDE_DEG, Folder
from crossview.pairs.kinds import read_kinds, tell_kinds
from crossview.pairs.rows import Row, read_rows
from crossview.pairs.table import KINDS, SIDES, PairTable
from crossview.views.lens import FOV_RANGE_DEG

SPLITS = ("train", "val", "test")
RELATIONS = ("match", "ignore")
NUMBERS = {  # column: (lowest, highest)
    "ground_lat": LATITUDE_DEG,
    "ground_lon": LONGITUDE_DEG,
    "aerial_lat": LATITUDE_DEG,
    "aerial_lon": LONGITUDE_DEG,
    "metres_per_px": (1e-6, 1e4),
    "up_bearing_deg": (-360.0, 360.0),
    "heading_deg": (-360.0, 360.0),
    "fov_deg": FOV_RANGE_DEG,
}
NEEDED = ("ground", "aerial", "metres_per_px")
COLUMNS = (*NEEDED[:2], "split", "relation", *NUMBERS, "kind")


@dataclass
class _Split:
    """What is collected of one split while reading; files by what their spellings have alike."""

    ground: dict[str, dict[str, Any]] = field(default_factory=dict)
    aerial: dict[str, dict[str, Any]] = field(default_factory=dict)
    match: dict[tuple[str, str], None] = field(default_factory=dict)
    ignore: dict[tuple[str, str], None] = field(default_factory=dict)


def load(path: Path) -> dict[str, PairTable]:
    """The tables of ``train``, ``val`` and ``test``, as far as the file has them.

    Errors (BadData) name the file and the line.
    """
    return load_with_notes(path)[0]


def load_with_notes(path: Path) -> tuple[dict[str, PairTable], tuple[str, ...]]:
    """:func:`load`, and sentences on what the table does not say and was taken from the pictures.

    A picture that is not there, or cannot be read, counts as a panorama until it is asked for.
    """
    splits: dict[str, _Split] = {}
    everywhere = _Split()  # a picture's facts are the same in all splits
    folder = Folder(path.parent)
    for row in read_rows(path, NEEDED, COLUMNS):
        _add(splits.setdefault(row.choice("split", SPLITS), _Split()), everywhere, row, folder)
    _check_leaks(path, splits)
    if not any(split.match for split in splits.values()):
        raise BadData(f"{path} has no row with relation match; nothing to train on.")
    notes = _kinds_from_files(path, splits.values(), folder)
    return {name: _table(split, folder) for name, split in splits.items() if split.match}, notes


def _kinds_from_files(path: Path, splits: Iterable[_Split], folder: Folder) -> tuple[str, ...]:
    """Fill in the kinds that the table does not tell; what they were taken from, in words."""
    unknown = list(
        {key: f for one in splits for key, f in one.ground.items() if f["kind"] == ""}.values()
    )
    kinds = read_kinds([folder.file(facts["file"]) for facts in unknown])
    for facts, kind in zip(unknown, kinds, strict=True):
        facts["kind"] = kind.kind
    return tuple(tell_kinds(kinds, f"column kind or fov_deg of {path.name}"))


def _add(split: _Split, everywhere: _Split, row: Row, folder: Folder) -> None:
    for name in NEEDED:
        if not row.text(name):
            raise BadData(f"{row.where}: {name} is empty.")
    numbers = {name: row.number(name, *limits) for name, limits in NUMBERS.items()}
    for side in SIDES:
        if math.isnan(numbers[f"{side}_lat"]) != math.isnan(numbers[f"{side}_lon"]):
            raise BadData(f"{row.where}: {side}_lat and {side}_lon go together; one is empty.")
    kind = row.choice("kind", ("", *KINDS))
    if kind == "" and not math.isnan(numbers["fov_deg"]):
        kind = "perspective" if numbers["fov_deg"] < 360.0 else "panorama"
    ground_facts = {k: numbers[k] for k in ("ground_lat", "ground_lon", "heading_deg", "fov_deg")}
    names = ("aerial_lat", "aerial_lon", "metres_per_px", "up_bearing_deg")
    aerial_facts = {k: numbers[k] for k in names}
    ground = _same(everywhere.ground, row, "ground", {**ground_facts, "kind": kind}, folder)
    aerial = _same(everywhere.aerial, row, "aerial", aerial_facts, folder)
    split.ground.setdefault(ground, everywhere.ground[ground])
    split.aerial.setdefault(aerial, everywhere.aerial[aerial])
    relation = row.choice("relation", RELATIONS)
    pair = (ground, aerial)
    known, other = (split.match, split.ignore)[:: 1 if relation == "match" else -1]
    both = f"{row.text('ground')} and {row.text('aerial')}"
    if pair in other:
        raise BadData(f"{row.where}: {both} are a match in one line, ignored in another.")
    if pair in known:
        raise BadData(f"{row.where}: {both} are there twice.")
    known[pair] = None


def _check_leaks(path: Path, splits: dict[str, _Split]) -> None:
    """A ground picture to train on must not be one to measure on."""
    for name in set(splits) - {"train"} if "train" in splits else ():
        if both := splits["train"].ground.keys() & splits[name].ground.keys():
            raise BadData(
                f"{path}: {min(both)} is in split train and in split {name} "
                f"({len(both)} such pictures)."
            )


def _same(
    known: dict[str, dict[str, Any]], row: Row, side: str, facts: dict[str, Any], folder: Folder
) -> str:
    """Keep the facts of a picture, and give its key; other facts about it further down are wrong.

    Its file is that of the line where it comes first, however later lines spell it.
    """
    file = row.text(side)
    key = folder.key(file)
    if key not in known:
        known[key] = {**facts, "file": file}
    for name, value in facts.items():
        earlier = known[key][name]
        if earlier != value and not (earlier != earlier and value != value):  # noqa: PLR0124 - NaN
            raise BadData(
                f"{row.where}: {name} of {file} is {_shown(value)}, earlier it was "
                f"{_shown(earlier)}.\nKeep the one that is right."
            )
    return key


def _shown(value: float | str) -> str:
    return str(value) if value == value and value != "" else "empty"  # noqa: PLR0124 - NaN


def _table(split: _Split, folder: Folder) -> PairTable:
    ground = {file: i for i, file in enumerate(split.ground)}
    aerial = {file: i for i, file in enumerate(split.aerial)}

    def relation(pairs: dict[tuple[str, str], None]) -> Any:
        rows = [(ground[g], aerial[a]) for g, a in pairs]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)

    def column(side: dict[str, dict[str, Any]], *names: str) -> Any:
        values = np.array([[facts[n] for n in names] for facts in side.values()], dtype=np.float64)
        return values if len(names) > 1 else values[:, 0]

    return PairTable(
        ground=tuple(folder.file(facts["file"]) for facts in split.ground.values()),
        aerial=tuple(folder.file(facts["file"]) for facts in split.aerial.values()),
        pairs=relation(split.match),
        ignored=relation(split.ignore),
        ground_latlon=column(split.ground, "ground_lat", "ground_lon"),
        aerial_latlon=column(split.aerial, "aerial_lat", "aerial_lon"),
        metres_per_px=column(split.aerial, "metres_per_px"),
        up_bearing_deg=np.nan_to_num(column(split.aerial, "up_bearing_deg")),
        heading_deg=column(split.ground, "heading_deg"),
        fov_deg=column(split.ground, "fov_deg"),
        perspective=np.array([f["kind"] == "perspective" for f in split.ground.values()], bool),
        root=folder.path,
    )
