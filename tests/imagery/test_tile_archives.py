"""Pyramids of tiles: a zoom becomes sheets, whatever the tiles are kept in."""

import gzip
import sqlite3
import subprocess
import sys

import cv2
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
from tests.imagery.georeferenced import (
    BERLIN,
    draw_positions,
    info,
    mbtiles,
    pmtiles,
    png,
    read_only_sheet,
    tiles_around,
    xyz_folder,
)

from crossview.errors import BadImagery, InvalidValue
from crossview.geo.points import LatLon
from crossview.imagery.sources import open_sources
from crossview.imagery.tile_archives import decode_tile

MAKERS = {
    "xyz": lambda folder, tiles: xyz_folder(folder / "xyz", tiles, 18),
    "mbtiles": lambda folder, tiles: mbtiles(
        folder / "a.mbtiles", tiles, 18, format="png", attribution="(c) Map", date="2020"
    ),
    "pmtiles": lambda folder, tiles: pmtiles(
        folder / "a.pmtiles", tiles, 18, attribution="(c) Map", date="2020"
    ),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_tiles_become_one_sheet_at_their_place(tmp_path, make):
    tiles, grid = tiles_around(BERLIN, 18, 3)
    pixels, valid, sheet = read_only_sheet(make(tmp_path, tiles))
    assert valid is None
    assert np.array_equal(pixels, draw_positions(192, 192))
    assert np.allclose(sheet.grid.latlon(5, 7), grid.latlon(5, 7), atol=1e-12)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_missing_tile_is_no_data(tmp_path, make):
    tiles, _ = tiles_around(BERLIN, 18, 3)
    del tiles[sorted(tiles)[4]]
    pixels, valid, _ = read_only_sheet(make(tmp_path, tiles))
    assert (valid[64:128, 64:128] == 0).all()
    assert (valid > 0).sum() == 8 * 64 * 64
    assert np.array_equal(pixels[:64], draw_positions(64, 192))


@pytest.mark.parametrize("kind", ["mbtiles", "pmtiles"])
def test_an_archive_tells_attribution_and_date(tmp_path, kind):
    found = info(MAKERS[kind](tmp_path, tiles_around(BERLIN, 18, 2)[0]))
    assert (found.attribution, found.date) == ("(c) Map", "2020")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_tile_that_is_no_picture_is_named(tmp_path, make, monkeypatch):
    monkeypatch.setattr("tests.imagery.georeferenced.png", lambda pixels: b"not a picture")
    with pytest.raises(BadImagery, match="cannot be decoded"):
        read_only_sheet(make(tmp_path, tiles_around(BERLIN, 18, 2)[0]))


def test_tiles_that_lie_apart_become_two_sheets(tmp_path):
    near, _ = tiles_around(BERLIN, 18, 2)
    far, _ = tiles_around(LatLon(52.6, 13.6), 18, 2)
    with open_sources([xyz_folder(tmp_path, near | far, 18)]) as imagery:
        assert [sheet.grid.width_px for sheet in imagery.sheets] == [128, 128]


def test_a_transparent_tile_has_no_data_where_it_is_clear(tmp_path):
    clear = np.dstack([draw_positions(64, 64), np.full((64, 64), 255, np.uint8)])
    clear[:, :20, 3] = 0
    ((number, _),) = tiles_around(BERLIN, 18, 1)[0].items()
    _, valid, _ = read_only_sheet(xyz_folder(tmp_path, {number: clear}, 18))
    assert (valid[:, :20] == 0).all()
    assert (valid[:, 20:] == 255).all()


def test_the_zoom_is_the_coarsest_that_is_fine_enough_or_as_asked(tmp_path):
    for zoom in (16, 17, 18):
        xyz_folder(tmp_path, tiles_around(BERLIN, zoom, 2, size=256)[0], zoom)
    assert info(tmp_path).metres_per_px == pytest.approx(0.365, rel=0.01)
    assert info(tmp_path, finest_useful_m=0.8).metres_per_px == pytest.approx(0.73, rel=0.01)
    assert info(tmp_path, finest_useful_m=0.1).metres_per_px == pytest.approx(0.365, rel=0.01)
    assert info(tmp_path, zoom=16).metres_per_px == pytest.approx(1.46, rel=0.01)
    with pytest.raises(InvalidValue, match="holds the zooms 16, 17, 18"):
        info(tmp_path, zoom=19)


@pytest.mark.parametrize("kind", ["mbtiles", "pmtiles"])
def test_a_truncated_archive_is_refused(tmp_path, kind):
    path = MAKERS[kind](tmp_path, tiles_around(BERLIN, 18, 3)[0])
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(BadImagery, match=path.name):
        read_only_sheet(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_truncated_tile_is_refused(suffix):
    content = cv2.imencode(suffix, draw_positions(256, 256))[1].tobytes()
    with pytest.raises(BadImagery, match="tile 1/2/3 cannot be decoded"):
        decode_tile(content[: len(content) // 2], "tile 1/2/3")


def test_vector_tiles_are_refused_with_the_reason(tmp_path):
    path = mbtiles(tmp_path / "a.mbtiles", {}, 14, format="pbf")
    with pytest.raises(BadImagery, match="the shapes of a map, not pictures"):
        info(path)


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


def hostile_pmtiles(path, root, *, leaf=b"", metadata=b"{}", data=PICTURE, packed=False):
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
    hostile_pmtiles(path, [Entry(FIRST, 0, len(PICTURE), 4**14)])


def loop(path):
    leaf = serialize_directory([Entry(FIRST, 0, 60, 0)])
    leaf = serialize_directory([Entry(FIRST, 0, len(leaf), 0)])
    hostile_pmtiles(path, [Entry(FIRST, 0, len(leaf), 0)], leaf=leaf)


def many_leaves(path):
    """Directories that fan out: each names others, with one picture at the end."""
    leaf = serialize_directory([Entry(FIRST + n, n, 40, 0) for n in range(60)])
    hostile_pmtiles(path, [Entry(FIRST + n, 0, len(leaf) - n, 0) for n in range(20)], leaf=leaf * 4)


def metadata(path):
    hostile_pmtiles(path, [Entry(FIRST, 0, len(PICTURE), 1)], metadata=b" " * 600_000_000)


def directory(path):
    hostile_pmtiles(path, [Entry(FIRST, 0, len(PICTURE), 1)])
    whole = bytearray(path.read_bytes())
    bomb = gzip.compress(b"\1" * 600_000_000, 9)
    whole[8:24] = len(whole).to_bytes(8, "little") + len(bomb).to_bytes(8, "little")
    path.write_bytes(bytes(whole) + bomb)


def tile(path):
    data = gzip.compress(bytes(600_000_000), 9)
    hostile_pmtiles(path, [Entry(FIRST, 0, len(data), 1)], data=data, packed=True)


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
