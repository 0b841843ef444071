"""Where tiles are kept: an XYZ folder, an MBTiles database, a PMTiles archive."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossview.errors import BadImagery
from crossview.files import list_entries
from crossview.imagery.pyramids import TileNumber
from crossview.imagery.tilemaps import facts_beside, facts_of_metadata, vector_tiles

PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
DOUBLE = "@2x"  # in names of tiles for sharp screens; they count only where a zoom has no others
DEEPEST = 24  # zooms beyond are no imagery
MOST_DIGITS = 9


class XyzFolder:
    """``zoom/x/y.png`` (or .jpg, .webp); files beside the zooms may say how rows count."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self.facts = facts_beside(path)
        self._pictures: dict[tuple[int, TileNumber], Path] = {}

    @staticmethod
    def looks_like(path: Path) -> bool:
        """Whether a folder holds at least one zoom/x/y picture."""
        return any(_pictures(column) for zoom in _zooms(path) for column in _folders(zoom))

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        return [
            int(zoom.name) for zoom in _zooms(self._path) if any(map(_pictures, _folders(zoom)))
        ]

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        usual: dict[TileNumber, Path] = {}
        double: dict[TileNumber, Path] = {}
        for folder in (folder for folder in _zooms(self._path) if int(folder.name) == zoom):
            for column in _folders(folder):
                for picture in _pictures(column):
                    stem = picture.stem.removesuffix(DOUBLE)
                    some = usual if stem == picture.stem else double
                    some[int(column.name), int(stem)] = picture
        found = usual or double
        self._pictures |= {(zoom, tile): picture for tile, picture in found.items()}
        return set(found)

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        path = self._pictures[zoom, tile]
        try:
            return path.read_bytes()
        except OSError as problem:
            raise BadImagery(f"{path} cannot be read: {problem.strerror}.") from problem

    def files(self) -> list[Path]:
        """The folders of columns: they change when a tile comes or goes; and what is beside."""
        columns = sorted(column for zoom in _zooms(self._path) for column in _folders(zoom))
        return [*columns, *self.facts.files]

    def close(self) -> None:
        """Nothing is held open."""


def _zooms(path: Path) -> list[Path]:
    return sorted(
        (folder for folder in _folders(path) if int(folder.name) <= DEEPEST),
        key=lambda folder: int(folder.name),
    )


def _folders(path: Path) -> list[Path]:
    """Folders named by a number."""
    return [entry for entry in list_entries(path) if _is_number(entry.name) and entry.is_dir()]


def _pictures(path: Path) -> list[Path]:
    """Pictures named by a number, those of double resolution too."""
    return [
        entry
        for entry in list_entries(path)
        if entry.suffix.lower() in PICTURES and _is_number(entry.stem.removesuffix(DOUBLE))
    ]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= MOST_DIGITS


class MbTiles:
    """An SQLite database of tiles (MBTiles 1.3); its rows should count from the south."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        source = f"{path.resolve().as_uri()}?mode=ro"
        try:
            self._db = sqlite3.connect(source, uri=True, check_same_thread=False)
        except sqlite3.Error as problem:
            raise BadImagery(f"{path} cannot be read as MBTiles: {problem}.") from problem
        try:
            tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master")}
            query = "SELECT name, value FROM metadata"
            rows = self._rows(query) if "metadata" in tables else []
            stated = {str(k): str(v) for k, v in rows}
            # Some writers name a scheme here, of what they wrote or of what they read.
            xyz = stated.get("scheme", "").strip().lower() == "xyz"
            wrong = "its metadata say xyz, and MBTiles count rows from the south" * xyz
            stated["scheme"] = "tms"
            self.facts = replace(facts_of_metadata(stated, path), contradiction=wrong)
        except BadImagery:
            self._db.close()
            raise

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        query = "SELECT DISTINCT zoom_level FROM tiles ORDER BY 1"
        return [zoom for (zoom,) in self._numbers(query) if 0 <= zoom <= DEEPEST]

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        query = "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?"
        return {(x, row) for x, row in self._numbers(query, zoom)}

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        query = (
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        )
        stored = self._rows(query, zoom, *tile)[0][0]
        if stored is None:
            return b""
        if not isinstance(stored, bytes):
            raise BadImagery(f"{self.name}: tile {zoom}/{tile[0]}/{tile[1]} is not a picture.")
        return stored

    def files(self) -> list[Path]:
        """See :class:`TileArchive`."""
        return [Path(self.name)]

    def close(self) -> None:
        """See :class:`TileArchive`."""
        self._db.close()

    def _numbers(self, query: str, *values: int) -> list[Any]:
        rows = self._rows(query, *values)
        if not all(isinstance(value, int) for row in rows for value in row):
            raise BadImagery(f"{self.name} is damaged: its tiles are not numbered.")
        return rows

    def _rows(self, query: str, *values: int) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as problem:
            raise BadImagery(f"{self.name} cannot be read as MBTiles: {problem}.") from problem


class PmTiles:
    """A PMTiles archive (version 3) of pictures, memory-mapped."""

    def __init__(self, path: Path) -> None:
        from pmtiles.reader import MmapSource
        from pmtiles.tile import TileType, deserialize_header

        self.name = str(path)
        try:
            with path.open("rb") as file:
                self._bytes = MmapSource(file)
            self._header = deserialize_header(self._bytes(0, 127))
            stated = self._metadata()
        except Exception as problem:  # pmtiles raises its own, struct's and index errors
            raise BadImagery(
                f"{path} cannot be read as PMTiles (version 3): {type(problem).__name__} {problem}."
            ) from problem
        if self._header["tile_type"] == TileType.MVT:
            raise vector_tiles(path)
        corners = ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")
        stated |= {"scheme": "xyz", "bounds": [self._header[name] / 1e7 for name in corners]}
        self.facts = facts_of_metadata(stated, path)
        self._found: dict[int, dict[TileNumber, tuple[int, int]]] = {}

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        named = range(self._header["min_zoom"], min(self._header["max_zoom"], DEEPEST) + 1)
        return [zoom for zoom in named if self._at(zoom)]

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        return set(self._at(zoom))

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        from pmtiles.tile import Compression

        offset, length = self._at(zoom)[tile]
        data: bytes = self._bytes(self._header["tile_data_offset"] + offset, length)
        packed = self._header["tile_compression"] == Compression.GZIP
        return gzip.decompress(data) if packed else data

    def files(self) -> list[Path]:
        """See :class:`TileArchive`."""
        return [Path(self.name)]

    def close(self) -> None:
        """The mapped file goes with the object."""

    def _at(self, zoom: int) -> dict[TileNumber, tuple[int, int]]:
        """Offset and length of every tile of a zoom."""
        if zoom not in self._found:
            from pmtiles.tile import tileid_to_zxy, zxy_to_tileid

            first, last = zxy_to_tileid(zoom, 0, 0), zxy_to_tileid(zoom + 1, 0, 0)
            root = self._header["root_offset"], self._header["root_length"]
            found: dict[TileNumber, tuple[int, int]] = {}
            for start, run, offset, length in self._entries(*root):
                for number in range(max(start, first), min(start + run, last)):
                    _, x, y = tileid_to_zxy(number)
                    found[x, y] = (offset, length)
            self._found[zoom] = found
        return self._found[zoom]

    def _entries(self, offset: int, length: int) -> Iterator[tuple[int, int, int, int]]:
        """(first tile id, run, offset, length) of every entry, leaf directories included."""
        from pmtiles.tile import deserialize_directory

        try:
            entries = deserialize_directory(self._bytes(offset, length))
        except Exception as problem:  # a cut file: gzip's, struct's and index errors
            raise BadImagery(f"{self.name} is truncated or damaged: {problem}.") from problem
        for entry in entries:
            if entry.run_length > 0:
                yield entry.tile_id, entry.run_length, entry.offset, entry.length
            else:
                leaf = self._header["leaf_directory_offset"] + entry.offset
                yield from self._entries(leaf, entry.length)

    def _metadata(self) -> dict[str, Any]:
        from pmtiles.tile import Compression

        data = self._bytes(self._header["metadata_offset"], self._header["metadata_length"])
        if self._header["internal_compression"] == Compression.GZIP:
            data = gzip.decompress(data)
        facts = json.loads(data) if data else {}
        return facts if isinstance(facts, dict) else {}
