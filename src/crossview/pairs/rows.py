"""Tables of pairs as rows of texts: CSV, Parquet, and GeoParquet with points."""

from __future__ import annotations

import csv
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadData

Row = tuple[str, dict[str, str]]  # "FILE, line N" and the cells by column; "" is unknown
GEOMETRIES = {"geometry": "ground", "ground_geometry": "ground", "aerial_geometry": "aerial"}
PARQUET = (".parquet", ".geoparquet", ".pq")


@dataclass(frozen=True)
class Rows:
    """The names of the columns, in order, and all rows."""

    names: list[str]
    rows: list[Row]


def read_rows(path: Path) -> Rows:
    """The table at ``path``, by the ending of its name; BadData if it cannot be read.

    A point column of GeoParquet becomes ``ground_lat`` and ``ground_lon`` ("geometry" and
    "ground_geometry") or ``aerial_lat`` and ``aerial_lon`` ("aerial_geometry"), in WGS84 degrees
    whatever its reference system.
    """
    return _parquet(path) if path.suffix.lower() in PARQUET else _csv(path)


def _csv(path: Path) -> Rows:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey="")
            names = list(reader.fieldnames or [])
            rows = [(f"{path}, line {reader.line_num}", cells) for cells in reader]
    except FileNotFoundError as problem:
        raise BadData(f"No table of pairs at {path}.") from problem
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise BadData(f"{path} cannot be read as a CSV in UTF-8: {problem}") from problem
    for where, cells in rows:
        if None in cells.values() or "" in cells:
            raise BadData(f"{where}: more or fewer cells than the header has.")
    return Rows(names, [(where, _stripped(cells)) for where, cells in rows])


def _stripped(cells: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).strip() for name, value in cells.items()}


def _parquet(path: Path) -> Rows:
    try:
        from pyarrow import parquet
    except ImportError as problem:
        raise BadData(
            f"{path} needs one more package to be read: pip install 'crossview[data]'"
        ) from problem
    try:
        table = parquet.read_table(path)
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
        about = json.loads((table.schema.metadata or {}).get(b"geo", b"{}")).get("columns", {})
    except FileNotFoundError as problem:
        raise BadData(f"No table of pairs at {path}.") from problem
    except Exception as problem:  # pyarrow has many classes for what is damaged
        raise BadData(f"{path} cannot be read as Parquet: {problem}") from problem
    for name in [name for name in GEOMETRIES if name in columns]:
        points = _points(path, name, columns.pop(name), about.get(name, {}))
        for axis, values in zip(("lat", "lon"), points.T, strict=True):
            column = f"{GEOMETRIES[name]}_{axis}"
            if column in columns:
                raise BadData(f"{path}: {name} and {column} both say where; keep one of them.")
            columns[column] = values.tolist()
    texts = [[_text(value) for value in values] for values in columns.values()]
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*texts, strict=True)]
    return Rows(list(columns), [(f"{path}, row {n}", cells) for n, cells in enumerate(rows, 1)])


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - NaN


def _points(path: Path, name: str, values: list[Any], about: dict[str, Any]) -> Any:
    """[N, 2] latitude and longitude of well-known-binary points; NaN where there is none."""
    from crossview.geo.projected import latlon_of

    if about.get("encoding", "WKB") != "WKB":
        raise BadData(f"{path}: {name} is encoded as {about['encoding']}; expected WKB.")
    xy = np.array([_xy(value, f"{path}, row {n}", name) for n, value in enumerate(values, 1)])
    crs = about.get("crs", "OGC:CRS84")  # the default of GeoParquet
    if crs is None:
        raise BadData(f"{path}: {name} has no reference system; write it with one (EPSG:4326).")
    latlon = latlon_of(crs if isinstance(crs, str) else json.dumps(crs), xy[:, 0], xy[:, 1])
    latlon[~np.isfinite(xy).all(axis=1)] = np.nan
    return latlon


def _xy(value: Any, where: str, name: str) -> tuple[float, float]:
    if value is None:
        return float("nan"), float("nan")
    order = "<" if value[:1] == b"\x01" else ">"
    if len(value) < 21 or struct.unpack(f"{order}I", value[1:5])[0] % 1000 != 1:
        raise BadData(f"{where}: {name} is no point.")
    x, y = struct.unpack(f"{order}2d", value[5:21])
    return x, y
