"""Anyone's own pictures: a CSV or Parquet file, one row per relation of a ground and an aerial one.

Columns (* = must be present; a CSV needs a header line):
``ground``*, ``aerial``*  files, relative to the table's folder or absolute
``split``          train (default), val or test
``relation``       match (default) or ignore: a near-miss that is neither right nor wrong
``ground_lat``, ``ground_lon``, ``aerial_lat``, ``aerial_lon``   WGS84 degrees
``metres_per_px``* of the aerial picture, on the ground;  ``up_bearing_deg`` (default 0) of its up
``heading_deg``    azimuth of the ground picture's middle from true north;  ``fov_deg`` horizontal
``kind``           panorama or perspective; if empty, ``fov_deg`` decides (below 360: perspective),
                   else the picture's file: its metadata, then its shape
Where pictures are taken whole, the metres across an aerial one are its pixels times metres_per_px,
and the angles of a panorama follow from its shape (``pairs.framing.measure_framing``).
Empty cells are unknown. In GeoParquet, points may replace the coordinates (:func:`read_rows`). If
the table does not state a picture's kind, its header is read here, but no pixels.
"""

from __future__ import annotations

import json
import logging
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from crossview import lists
from crossview.arrays import F64
from crossview.errors import BadData
from crossview.geo.points import LatLon
from crossview.lists import LATITUDE_DEG, LONGITUDE_DEG, Folder
from crossview.pairs.reading import describe_kinds, read_kinds
from crossview.pairs.table import KINDS, SIDES, PairTable
from crossview.views.lens import FOV_RANGE_DEG

GEOMETRIES = {"geometry": "ground", "ground_geometry": "ground", "aerial_geometry": "aerial"}
LOG = logging.getLogger("crossview.pairs")
PARQUET_SUFFIXES = (".parquet", ".geoparquet", ".pq")


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


class PairRow(Protocol):
    """One relation of a table; errors (BadData) name the file and the line or row."""

    @property
    def where(self) -> str:
        """The words "FILE, line N"."""

    def text(self, column: str) -> str:
        """A cell; "" where it is unknown."""

    def number(self, column: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``; NaN where it is unknown."""

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        """One of ``allowed``; the first of them where it is unknown."""


@dataclass(frozen=True, slots=True)
class _ParquetRow:
    """A row of Parquet: its cells as texts, by column."""

    where: str
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def number(self, column: str, low: float, high: float) -> float:
        return lists.number(column, self.text(column), (low, high), self.where)

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        return lists.choice(column, self.text(column), allowed, self.where)


def read_rows(path: Path, needed: Sequence[str], allowed: Sequence[str]) -> Iterator[PairRow]:
    """The rows of the table at ``path``, Parquet or a list by the ending of its name.

    Raises BadData for what cannot be read, columns that are missing and columns not ``allowed``.
    A point column of GeoParquet becomes ``ground_lat`` and ``ground_lon`` ("geometry" and
    "ground_geometry") or ``aerial_lat`` and ``aerial_lon`` ("aerial_geometry"), in WGS84 degrees
    whatever its reference system.
    """
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return _read_parquet(path, needed, allowed)
    return iter(lists.read_table(path, needed=needed, allowed=allowed, what="table of pairs"))


def _read_parquet(path: Path, needed: Sequence[str], allowed: Sequence[str]) -> Iterator[PairRow]:
    try:
        from pyarrow import parquet
    except ImportError as problem:
        raise BadData(
            f"{path} needs one more package to be read: pip install 'crossview[data]'"
        ) from problem
    try:
        table = parquet.read_table(path)
        columns = {name: table.column(n).to_pylist() for n, name in enumerate(table.column_names)}
        about = json.loads((table.schema.metadata or {}).get(b"geo", b"{}")).get("columns", {})
        about = {name: dict(facts) for name, facts in about.items()}
    except FileNotFoundError as problem:
        raise BadData(f"No table of pairs at {path}.") from problem
    except Exception as problem:  # pyarrow has many classes for what is damaged
        raise BadData(f"{path} cannot be read as Parquet: {problem}") from problem
    for name in [name for name in GEOMETRIES if name in columns]:
        points = _read_points(path, name, columns.pop(name), about.get(name, {}))
        for axis, values in zip(("lat", "lon"), points.T, strict=True):
            column = f"{GEOMETRIES[name]}_{axis}"
            if column in columns:
                raise BadData(f"{path}: {name} and {column} both say where; keep one of them.")
            columns[column] = values.tolist()
    columns = _normalise_names(path, columns)
    if missing := [name for name in needed if name not in columns]:
        raise BadData(f"{path} has no column {', '.join(missing)}; it has: {', '.join(columns)}.")
    if unknown := [name for name in columns if name not in allowed]:
        raise BadData(
            f"{path}: unknown columns {', '.join(unknown)}.\nKnown: {', '.join(allowed)}."
        )
    texts = [[_format_cell(value) for value in values] for values in columns.values()]
    for n, cells in enumerate(zip(*texts, strict=True), 1):
        yield _ParquetRow(f"{path}, row {n}", dict(zip(columns, cells, strict=True)))


def _normalise_names(path: Path, columns: dict[str, Any]) -> dict[str, Any]:
    names = [name.strip().lower() for name in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadData(f"{path}: the column {twice[0]} is there twice; keep one of them.")
    return dict(zip(names, columns.values(), strict=True))


def _format_cell(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").strip()
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - NaN


def _read_points(path: Path, name: str, values: list[Any], about: dict[str, Any]) -> F64:
    """[N, 2] latitude and longitude of well-known-binary points; NaN where there is none."""
    from pyproj.exceptions import CRSError

    from crossview.geo.grids import convert_rows_to_latlon

    if about.get("encoding", "WKB") != "WKB":
        raise BadData(f"{path}: {name} is encoded as {about['encoding']}; expected WKB.")
    xy = np.array(
        [_parse_point(value, f"{path}, row {n}", name) for n, value in enumerate(values, 1)]
    )
    crs = about.get("crs", "OGC:CRS84")  # the default of GeoParquet
    if crs is None:
        raise BadData(f"{path}: {name} has no reference system; write it with one (EPSG:4326).")
    try:
        latlon = convert_rows_to_latlon(
            crs if isinstance(crs, str) else json.dumps(crs), xy[:, 0], xy[:, 1]
        )
    except CRSError as problem:
        raise BadData(
            f"{path}: {name} has a reference system that is not known: {str(crs)[:60]}.\n"
            "Write it with one that is, such as EPSG:4326."
        ) from problem
    latlon[~np.isfinite(xy).all(axis=1)] = np.nan
    _warn_of_datum(path, name, crs, latlon)
    return latlon


def _warn_of_datum(path: Path, name: str, crs: Any, latlon: F64) -> None:
    """A warning if PROJ does not know well where on Earth the points of ``crs`` lie."""
    from crossview.geo.grids import find_datum_shift

    for lat, lon in latlon[np.isfinite(latlon).all(axis=1)][:1]:
        shift = find_datum_shift(crs if isinstance(crs, str) else json.dumps(crs), LatLon(lat, lon))
        if shift is not None and (shift.copied or shift.is_rough):
            LOG.warning("%s, %s: %s.", path, name, shift)


def _parse_point(value: Any, where: str, name: str) -> tuple[float, float]:
    if value is None:
        return float("nan"), float("nan")
    if not isinstance(value, bytes):
        raise BadData(f"{where}: {name} is not a point in well-known binary.")
    order = "<" if value[:1] == b"\x01" else ">"
    if len(value) < 21 or struct.unpack(f"{order}I", value[1:5])[0] % 1000 != 1:
        raise BadData(f"{where}: {name} is not a point.")
    x, y = struct.unpack(f"{order}2d", value[5:21])
    return x, y


@dataclass
class _Split:
    """The rows of one split; files by a key that is the same for all of their spellings."""

    ground: dict[str, dict[str, Any]] = field(default_factory=dict)
    aerial: dict[str, dict[str, Any]] = field(default_factory=dict)
    match: dict[tuple[str, str], None] = field(default_factory=dict)
    ignore: dict[tuple[str, str], None] = field(default_factory=dict)


def load(path: Path) -> dict[str, PairTable]:
    """The tables of ``train``, ``val`` and ``test``, those that the file has.

    Errors (BadData) name the file and the line.
    """
    return load_with_notes(path)[0]


def load_with_notes(path: Path) -> tuple[dict[str, PairTable], tuple[str, ...]]:
    """:func:`load`, and sentences on what the table omits and was taken from the pictures.

    A picture that is missing or cannot be read counts as a panorama until it is loaded.
    """
    splits: dict[str, _Split] = {}
    everywhere = _Split()  # a picture's facts are the same in all splits
    folder = Folder(path.parent)
    for row in read_rows(path, NEEDED, COLUMNS):
        _add_row(splits.setdefault(row.choice("split", SPLITS), _Split()), everywhere, row, folder)
    _check_leaks(path, splits)
    if not any(split.match for split in splits.values()):
        raise BadData(f"{path} has no row with relation match; nothing to train on.")
    notes = _read_missing_kinds(path, splits.values(), folder)
    return {
        name: _build_table(split, folder) for name, split in splits.items() if split.match
    }, notes


def _read_missing_kinds(path: Path, splits: Iterable[_Split], folder: Folder) -> tuple[str, ...]:
    """Fill in the kinds that the table does not state; sentences on what they were taken from."""
    pictures = {key: facts for split in splits for key, facts in split.ground.items()}
    unknown = [facts for facts in pictures.values() if facts["kind"] == ""]
    kinds = read_kinds([folder.file(facts["file"]) for facts in unknown])
    for facts, kind in zip(unknown, kinds, strict=True):
        facts["kind"] = kind.kind
    return tuple(describe_kinds(kinds, f"column kind or fov_deg of {path.name}"))


def _add_row(split: _Split, everywhere: _Split, row: PairRow, folder: Folder) -> None:
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
    ground = _merge_facts(everywhere.ground, row, "ground", {**ground_facts, "kind": kind}, folder)
    aerial = _merge_facts(everywhere.aerial, row, "aerial", aerial_facts, folder)
    split.ground.setdefault(ground, everywhere.ground[ground])
    split.aerial.setdefault(aerial, everywhere.aerial[aerial])
    relation = row.choice("relation", RELATIONS)
    pair = (ground, aerial)
    same, other = (split.match, split.ignore)[:: 1 if relation == "match" else -1]
    both = f"{row.text('ground')} and {row.text('aerial')}"
    if pair in other:
        raise BadData(f"{row.where}: {both} are a match in one line, ignored in another.")
    if pair in same:
        raise BadData(f"{row.where}: {both} are listed twice.")
    same[pair] = None


def _check_leaks(path: Path, splits: dict[str, _Split]) -> None:
    """Refuse ground pictures that are both in train and in another split."""
    for name in set(splits) - {"train"} if "train" in splits else ():
        if both := splits["train"].ground.keys() & splits[name].ground.keys():
            raise BadData(
                f"{path}: {min(both)} is in split train and in split {name} "
                f"({len(both)} such pictures)."
            )


def _merge_facts(
    pictures: dict[str, dict[str, Any]],
    row: PairRow,
    side: str,
    facts: dict[str, Any],
    folder: Folder,
) -> str:
    """Keep the facts of a picture and return its key; later lines must not contradict them.

    Its file is spelled as in the first line that has it.
    """
    file = row.text(side)
    key = folder.key(file)
    if key not in pictures:
        pictures[key] = {**facts, "file": file}
    for name, value in facts.items():
        earlier = pictures[key][name]
        if earlier != value and not (earlier != earlier and value != value):  # noqa: PLR0124 - NaN
            raise BadData(
                f"{row.where}: {name} of {file} is {_format_fact(value)}, earlier it was "
                f"{_format_fact(earlier)}.\nKeep the right one."
            )
    return key


def _format_fact(value: float | str) -> str:
    return str(value) if value == value and value != "" else "empty"  # noqa: PLR0124 - NaN


def _build_table(split: _Split, folder: Folder) -> PairTable:
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
