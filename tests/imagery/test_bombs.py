"""Archives that are small and would never end: refused in words, in little time and memory."""

import gzip
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from pmtiles.tile import (
    Compression,
    Entry,
    TileType,
    serialize_directory,
    serialize_header,
    zxy_to_tileid,
)
from tests.imagery.made import BERLIN, mbtiles, png, tiles_around

from crossview.errors import BadImagery
from crossview.imagery.sources import open_sources

FIRST = zxy_to_tileid(14, 0, 0)
PICTURE = png(np.zeros((64, 64, 3), np.uint8))
OPEN = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from crossview.errors import CrossviewError
from crossview.imagery.sources import open_sources
began = time.monotonic()
try:
    with open_sources([sys.argv[1]]) as imagery:
        for sheet in imagery.sheets:
            sheet.store.read(sheet.box)
except CrossviewError as problem:
    print(problem)
    # Of this program alone: ru_maxrss counts what the process was before it, pytest.
    lines = open("/proc/self/status").read().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(time.monotonic() - began, peak)
"""


def pmtiles(path, root, *, leaf=b"", metadata=b"{}", data=PICTURE, packed=False):
    directory, metadata = serialize_directory(root), gzip.compress(metadata, 9)
    at = 127 + len(directory)
    header = {
        "root_offset": 127, "root_length": len(directory), "metadata_offset": at,
        "metadata_length": len(metadata), "leaf_directory_offset": at + len(metadata),
        "leaf_directory_length": len(leaf), "tile_data_offset": at + len(metadata) + len(leaf),
        "tile_data_length": len(data), "addressed_tiles_count": 1, "tile_entries_count": 1,
        "tile_contents_count": 1, "clustered": True, "internal_compression": Compression.GZIP,
        "tile_compression": Compression.GZIP if packed else Compression.NONE,
        "tile_type": TileType.PNG, "min_zoom": 14, "max_zoom": 14, "min_lon_e7": 0,
        "min_lat_e7": 0, "max_lon_e7": 1, "max_lat_e7": 1, "center_zoom": 14,
        "center_lon_e7": 0, "center_lat_e7": 0, "version": 3,
    }  # fmt: skip
    path.write_bytes(serialize_header(header) + directory + metadata + leaf + data)


def run(path):
    """A picture that is repeated over all of a zoom."""
    pmtiles(path, [Entry(FIRST, 0, len(PICTURE), 4**14)])


def loop(path):
    leaf = serialize_directory([Entry(FIRST, 0, 60, 0)])
    leaf = serialize_directory([Entry(FIRST, 0, len(leaf), 0)])
    pmtiles(path, [Entry(FIRST, 0, len(leaf), 0)], leaf=leaf)


def many_leaves(path):
    """Directories that fan out: each names others, with one picture at the end."""
    leaf = serialize_directory([Entry(FIRST + n, n, 40, 0) for n in range(60)])
    pmtiles(path, [Entry(FIRST + n, 0, len(leaf) - n, 0) for n in range(20)], leaf=leaf * 4)


def metadata(path):
    pmtiles(path, [Entry(FIRST, 0, len(PICTURE), 1)], metadata=b" " * 600_000_000)


def directory(path):
    pmtiles(path, [Entry(FIRST, 0, len(PICTURE), 1)])
    whole = bytearray(path.read_bytes())
    bomb = gzip.compress(b"\1" * 600_000_000, 9)
    whole[8:24] = len(whole).to_bytes(8, "little") + len(bomb).to_bytes(8, "little")
    path.write_bytes(bytes(whole) + bomb)


def tile(path):
    data = gzip.compress(bytes(600_000_000), 9)
    pmtiles(path, [Entry(FIRST, 0, len(data), 1)], data=data, packed=True)


def view(select):
    def write(path):
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE metadata (name text, value text)")
            db.execute("CREATE TABLE n (x integer)")
            db.executemany("INSERT INTO n VALUES (?)", [(n,) for n in range(2000)])
            db.execute(f"CREATE VIEW tiles AS {select}")

    return write


def large_picture(path):
    mbtiles(path, {(0, 0): np.zeros((13_300, 13_300, 3), np.uint8)}, 14)


NAMES = "zoom_level, {} AS tile_column, 0 AS tile_row, {} AS tile_data"
BOMBS = {
    "run.pmtiles": run,
    "loop.pmtiles": loop,
    "leaves.pmtiles": many_leaves,
    "metadata.pmtiles": metadata,
    "directory.pmtiles": directory,
    "tile.pmtiles": tile,
    "endless.mbtiles": view(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
        f"SELECT 14 AS {NAMES.format('x', 'x')} FROM c"
    ),
    "product.mbtiles": view(f"SELECT a.x AS {NAMES.format('b.x', 'c.x')} FROM n a, n b, n c, n d"),
    "nothing.mbtiles": view(
        f"SELECT a.x AS {NAMES.format('b.x', 'c.x')} FROM n a, n b, n c, n d WHERE a.x + b.x < -1"
    ),
    "function.mbtiles": view(f"SELECT 14 AS {NAMES.format('x', 'zeroblob(900000000)')} FROM n"),
    "large.mbtiles": large_picture,
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_it_is_refused_within_5_seconds_and_500_megabytes(tmp_path, name):
    BOMBS[name](tmp_path / name)
    ran = subprocess.run(
        [sys.executable, "-c", OPEN, str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert name in ran.stdout
    seconds, kilobytes = map(float, ran.stdout.splitlines()[-1].split())
    assert seconds < 5.0
    assert kilobytes < 500_000


def test_a_view_that_joins_tables_is_read_as_writers_make_it(tmp_path):
    tiles, _ = tiles_around(BERLIN, 14, 2)
    path = tmp_path / "a.mbtiles"
    mbtiles(path, tiles, 14)
    with sqlite3.connect(path) as db:
        db.executescript(
            "CREATE TABLE images AS SELECT rowid AS id, tile_data FROM tiles;"
            "CREATE TABLE map AS SELECT zoom_level, tile_column, tile_row, rowid AS id FROM tiles;"
            "DROP TABLE tiles;"
            "CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data "
            "FROM map JOIN images ON images.id = map.id"
        )
    with open_sources([path]) as imagery:
        assert len(imagery.sheets) == 1
    assert not list(tmp_path.glob("a.mbtiles-*"))


@pytest.mark.parametrize("name", ["endless.mbtiles", "function.mbtiles"])
def test_a_view_that_computes_its_tiles_is_named_as_such(tmp_path, name):
    BOMBS[name](tmp_path / name)
    with pytest.raises(BadImagery, match="computed by functions or recursion"):
        open_sources([tmp_path / name])


def test_a_virtual_table_of_tiles_is_refused(tmp_path):
    path = tmp_path / "a.mbtiles"
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE VIRTUAL TABLE tiles USING fts4(zoom_level,tile_column,tile_row,tile_data)"
        )
    with pytest.raises(BadImagery, match="neither a table nor a view"):
        open_sources([path])
