"""Anyone's own pictures: a CSV or Parquet file, one row per relation of a ground and an aerial one.

Columns (* = must be present; a CSV needs a header line):
``ground``*, ``aerial``*  files, relative to the table's folder or absolute
``split``          train (default), val or test
``relation``       match (default) or ignore: a near-miss that is neither right nor wrong
``ground_lat``, ``ground_lon``, ``aerial_lat``, ``aerial_lon``   WGS84 degrees
``metres_per_px``* of the aerial picture, on the ground;  ``up_bearing_deg`` (default 0) of its up
``heading_deg``    azimuth of the ground picture's middle from true north;  ``fov_deg`` horizontal
``kind``           panorama or perspective (default: panorama unless fov_deg is given below 360)
Empty cells are unknown. In GeoParquet points may stand for the coordinates (``pairs.rows``). Only
the table is read here; no picture is opened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadData
from crossview.pairs.cells import choice, number
from crossview.pairs.rows import read_rows
from crossview.pairs.table import KINDS, PairTable

SPLITS = ("train", "val", "test")
RELATIONS = ("match", "ignore")
NUMBERS = {  # column: (lowest, highest)
    "ground_lat": (-90.0, 90.0),
    "ground_lon": (-180.0, 180.0),
    "aerial_lat": (-90.0, 90.0),
    "aerial_lon": (-180.0, 180.0),
    "metres_per_px": (1e-6, 1e4),
    "up_bearing_deg": (-360.0, 360.0),
    "heading_deg": (-360.0, 360.0),
    "fov_deg": (1e-3, 360.0),
}
NEEDED = ("ground", "aerial", "metres_per_px")
COLUMNS = (*NEEDED[:2], "split", "relation", *NUMBERS, "kind")


@dataclass
class _Split:
    """What is collected of one split while reading."""

    ground: dict[str, dict[str, Any]] = field(default_factory=dict)
    aerial: dict[str, dict[str, Any]] = field(default_factory=dict)
    match: dict[tuple[str, str], None] = field(default_factory=dict)
    ignore: dict[tuple[str, str], None] = field(default_factory=dict)


def load(path: Path) -> dict[str, PairTable]:
    """The tables of ``train``, ``val`` and ``test``, as far as the file has them.

    Errors (BadData) name the file and the line.
    """
    splits: dict[str, _Split] = {}
    table = read_rows(path)
    _check_header(path, table.names)
    for where, cells in table.rows:
        _add(splits, cells, where)
    _check_leaks(path, splits)
    if not any(split.match for split in splits.values()):
        raise BadData(f"{path} has no row with relation match; nothing to train on.")
    return {name: _table(split, path.parent) for name, split in splits.items() if split.match}


def _check_header(path: Path, names: list[str]) -> None:
    if missing := [name for name in NEEDED if name not in names]:
        raise BadData(
            f"{path}, line 1: columns {', '.join(missing)} are missing; found {', '.join(names)}.\n"
            f"Known columns: {', '.join(COLUMNS)}."
        )
    if unknown := [name for name in names if name not in COLUMNS]:
        raise BadData(
            f"{path}, line 1: unknown columns {', '.join(unknown)}.\nKnown: {', '.join(COLUMNS)}."
        )


def _add(splits: dict[str, _Split], texts: dict[str, str], where: str) -> None:
    split = splits.setdefault(choice("split", texts.get("split", ""), SPLITS, where), _Split())
    numbers = {
        name: number(name, texts.get(name, ""), limits, where) for name, limits in NUMBERS.items()
    }
    for name in NEEDED:
        if not texts[name]:
            raise BadData(f"{where}: {name} is empty.")
    kind = choice("kind", texts.get("kind", ""), ("", *KINDS), where)
    photo = kind == "perspective" or (kind == "" and numbers["fov_deg"] < 360.0)
    ground_facts = {k: numbers[k] for k in ("ground_lat", "ground_lon", "heading_deg", "fov_deg")}
    names = ("aerial_lat", "aerial_lon", "metres_per_px", "up_bearing_deg")
    aerial_facts = {k: numbers[k] for k in names}
    _same(split.ground, texts["ground"], {**ground_facts, "perspective": photo}, where)
    _same(split.aerial, texts["aerial"], aerial_facts, where)
    relation = choice("relation", texts.get("relation", ""), RELATIONS, where)
    pair = (texts["ground"], texts["aerial"])
    known, other = (split.match, split.ignore)[:: 1 if relation == "match" else -1]
    if pair in other:
        raise BadData(f"{where}: {' and '.join(pair)} are a match in one line, ignored in another.")
    if pair in known:
        raise BadData(f"{where}: {' and '.join(pair)} are there twice.")
    known[pair] = None


def _check_leaks(path: Path, splits: dict[str, _Split]) -> None:
    """A ground picture to train on must not be one to measure on."""
    for name in set(splits) - {"train"} if "train" in splits else ():
        if both := splits["train"].ground.keys() & splits[name].ground.keys():
            raise BadData(
                f"{path}: {min(both)} is in split train and in split {name} "
                f"({len(both)} such pictures)."
            )


def _same(known: dict[str, dict[str, Any]], file: str, facts: dict[str, Any], where: str) -> None:
    """Keep the facts of a picture; refuse other facts about the same picture further down."""
    for name, value in known.setdefault(file, facts).items():
        if facts[name] != value and not (math.isnan(facts[name]) and math.isnan(value)):
            raise BadData(f"{where}: {name} of {file} is {facts[name]}, earlier it was {value}.")


def _table(split: _Split, folder: Path) -> PairTable:
    ground = {file: i for i, file in enumerate(split.ground)}
    aerial = {file: i for i, file in enumerate(split.aerial)}

    def relation(pairs: dict[tuple[str, str], None]) -> Any:
        rows = [(ground[g], aerial[a]) for g, a in pairs]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)

    def column(side: dict[str, dict[str, Any]], *names: str) -> Any:
        values = np.array([[facts[n] for n in names] for facts in side.values()], dtype=np.float64)
        return values if len(names) > 1 else values[:, 0]

    return PairTable(
        ground=tuple(folder / file for file in ground),
        aerial=tuple(folder / file for file in aerial),
        pairs=relation(split.match),
        ignored=relation(split.ignore),
        ground_latlon=column(split.ground, "ground_lat", "ground_lon"),
        aerial_latlon=column(split.aerial, "aerial_lat", "aerial_lon"),
        metres_per_px=column(split.aerial, "metres_per_px"),
        up_bearing_deg=np.nan_to_num(column(split.aerial, "up_bearing_deg")),
        heading_deg=column(split.ground, "heading_deg"),
        fov_deg=column(split.ground, "fov_deg"),
        perspective=column(split.ground, "perspective").astype(bool),
        root=folder,
    )
