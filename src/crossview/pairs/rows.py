"""Tables of pairs row by row: lists (CSV), Parquet, and GeoParquet with points."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from crossview import lists
from crossview.arrays import F64
from crossview.errors import BadData
from crossview.geo.points import LatLon

GEOMETRIES = {"geometry": "ground", "ground_geometry": "ground", "aerial_geometry": "aerial"}
LOG = logging.getLogger("crossview.pairs")
PARQUET_SUFFIXES = (".parquet", ".geoparquet", ".pq")


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
    from crossview.geo.datums import find_datum_shift

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
