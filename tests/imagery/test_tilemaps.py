"""Which way the rows of tiles count, and how much ground a tile covers."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
from tests.imagery.georeferenced import (
    BERLIN,
    draw_positions,
    mbtiles,
    pmtiles,
    png,
    tiles_around,
    xyz_folder,
)

from crossview.errors import BadImagery
from crossview.geo.mercator import HALF_WORLD_M, find_tile_edges, project
from crossview.geo.points import LatLon
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import open_sources
from crossview.imagery.tile_archives import (
    TileFacts,
    choose_row_order,
    parse_metadata,
    require_one_order,
)

ZOOM = 18
BOX = (13.39, 52.51, 13.41, 52.53)  # west, south, east, north, around the tiles


def flipped(tiles, zoom=ZOOM):
    return {(x, 2**zoom - 1 - y): pixels for (x, y), pixels in tiles.items()}


def tms_folder(folder, size=64, zoom=ZOOM):
    return xyz_folder(folder, flipped(tiles_around(BERLIN, zoom, 2, size)[0], zoom), zoom)


def tilemap(
    *, srs="EPSG:3857", profile="mercator", box=BOX, origin=(-HALF_WORLD_M, -HALF_WORLD_M),
    size=64, units=None, extra="", order=ZOOM,
):  # fmt: skip
    units = 2 * HALF_WORLD_M / 256 / 2**order if units is None else units
    return (
        f'<?xml version="1.0"?>{extra}<TileMap version="1.0.0"><SRS>{srs}</SRS>'
        f'<BoundingBox minx="{box[0]}" miny="{box[1]}" maxx="{box[2]}" maxy="{box[3]}"/>'
        f'<Origin x="{origin[0]}" y="{origin[1]}"/>'
        f'<TileFormat width="{size}" height="{size}" mime-type="image/png" extension="png"/>'
        f'<TileSets profile="{profile}"><TileSet href="{order}" units-per-pixel="{units}" '
        f'order="{order}"/></TileSets></TileMap>'
    )


def metres(box):
    west, south = project(LatLon(box[1], box[0]))
    east, north = project(LatLon(box[3], box[2]))
    return west, south, east, north


def opened(path, **options):
    with open_sources([path], SourceOptions(**options)) as imagery:
        (sheet,) = imagery.sheets
        pixels = sheet.store.read(sheet.box).pixels
        lat, lon = sheet.grid.latlon(0.0, 0.0)
        return float(lat), float(lon), pixels, imagery.notes


def at_home(path, size=64, **options):
    """Opened, and found to lie in Berlin with its pixels in order."""
    lat, lon, pixels, notes = opened(path, **options)
    grid = tiles_around(BERLIN, ZOOM, 2, size)[1]
    assert (lat, lon) == pytest.approx([float(v) for v in grid.latlon(0.0, 0.0)])
    assert np.array_equal(pixels, draw_positions(2 * size, 2 * size))
    return notes


SWAPPED = (BOX[1], BOX[0], BOX[3], BOX[2])  # as older gdal2tiles writes it


@pytest.mark.parametrize(
    "facts",
    [
        {"box": metres(BOX)},
        {},
        {"box": SWAPPED, "origin": SWAPPED[:2]},
        {"srs": "EPSG:900913", "origin": BOX[:2]},
        {"srs": "OSGEO:41001", "profile": "global-mercator"},
        {"box": (0, 0, 0, 0)},
        {"box": (-180, -85.05, 180, 85.05)},
    ],
)
def test_a_folder_with_a_tile_map_counts_rows_from_the_south(tmp_path, facts):
    (tms_folder(tmp_path) / "tilemapresource.xml").write_text(tilemap(**facts))
    assert at_home(tmp_path) == ()
    assert at_home(tmp_path / "tilemapresource.xml") == ()


def test_a_tile_map_beside_rows_from_the_north_is_overruled_by_its_own_bounds(tmp_path):
    xyz_folder(tmp_path, tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    (tmp_path / "tilemapresource.xml").write_text(tilemap())
    (note,) = at_home(tmp_path)
    assert "counted from the north, because only so do they lie in the bounds" in note


@pytest.mark.parametrize("asked", [None, True, False])
def test_bounds_that_no_order_of_rows_fits_are_refused_unless_the_user_says_one(tmp_path, asked):
    (tms_folder(tmp_path) / "tilemapresource.xml").write_text(tilemap(box=(100, 0, 101, 1)))
    if asked is None:
        with pytest.raises(BadImagery, match=r"its tiles lie elsewhere[\s\S]*--tms"):
            opened(tmp_path)
    else:
        assert (opened(tmp_path, tms=asked)[0] > 0) is asked


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"srs": "EPSG:4326", "profile": "geodetic"}, "EPSG:4326"),
        ({"srs": "", "profile": "geodetic"}, "profile geodetic"),
        ({"srs": "", "profile": "raster"}, "profile raster"),
        ({"srs": "EPSG:25833", "profile": "local"}, "EPSG:25833"),
        ({"units": 0.7}, "units per pixel"),
        ({"extra": '<!DOCTYPE a [<!ENTITY b "c">]>'}, "declares entities"),
        ({"extra": "<"}, "cannot be read as XML"),
    ],
)
def test_a_tile_map_of_another_grid_or_kind_is_refused(tmp_path, facts, why):
    (tms_folder(tmp_path) / "tilemapresource.xml").write_text(tilemap(**facts))
    with pytest.raises(BadImagery, match=why):
        opened(tmp_path)


def test_a_tile_map_with_its_origin_in_the_north_contradicts_itself(tmp_path):
    north = {"origin": (-HALF_WORLD_M, HALF_WORLD_M), "box": (0, 0, 0, 0)}
    (tms_folder(tmp_path) / "tilemapresource.xml").write_text(tilemap(**north))
    with pytest.raises(BadImagery, match=r"origin in the north[\s\S]*--tms"):
        opened(tmp_path)
    assert at_home(tmp_path, tms=True) == ()


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("metadata.json", {"scheme": "tms"}),
        ("metadata.json", {"bounds": list(BOX)}),
        ("metadata.json", {"bounds": ",".join(map(str, BOX)), "scheme": "tms", "format": "png"}),
        ("tiles.json", {"tilejson": "2.2.0", "scheme": "tms"}),
        ("tiles.json", {"tilejson": "2.2.0", "tiles": ["http://x/{z}/{x}/{-y}.png"]}),
    ],
)
def test_json_beside_the_tiles_says_so_too(tmp_path, name, facts):
    (tms_folder(tmp_path) / name).write_text(json.dumps(facts))
    assert at_home(tmp_path) == ()


def test_json_without_a_scheme_or_bounds_leaves_rows_from_the_north(tmp_path):
    xyz_folder(tmp_path, tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    (tmp_path / "metadata.json").write_text('{"attribution": "(c) Map"}')
    (note,) = at_home(tmp_path)
    assert "--tms if from the south" in note


def test_two_files_that_contradict_each_other_decide_nothing(tmp_path):
    (tms_folder(tmp_path) / "tiles.json").write_text('{"tilejson": "3", "scheme": "xyz"}')
    (tmp_path / "metadata.json").write_text('{"scheme": "tms"}')
    with pytest.raises(BadImagery, match="name different row orders"):
        opened(tmp_path)


def test_the_user_can_say_it_but_not_against_the_bounds(tmp_path):
    assert at_home(tms_folder(tmp_path / "a"), tms=True) == ()
    (tms_folder(tmp_path / "b") / "metadata.json").write_text(json.dumps({"bounds": list(BOX)}))
    with pytest.raises(BadImagery, match="--no-tms contradicts the bounds"):
        opened(tmp_path / "b", tms=False)


@pytest.mark.parametrize("right", [True, False])
def test_mbtiles_count_from_the_south_unless_their_bounds_say_that_the_writer_erred(
    tmp_path, right
):
    tiles = tiles_around(BERLIN, ZOOM, 2)[0]
    path = mbtiles(
        tmp_path / "a.mbtiles", tiles if right else flipped(tiles), ZOOM,
        bounds=",".join(map(str, BOX)), scheme="xyz", format="png",
    )  # fmt: skip
    notes = at_home(path)
    assert len(notes) == (0 if right else 1)


def test_mbtiles_without_bounds_are_as_their_specification_says(tmp_path):
    assert at_home(mbtiles(tmp_path / "a.mbtiles", tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)) == ()


@pytest.mark.parametrize("from_south", [True, False])
def test_mbtiles_that_name_the_other_order_and_state_no_bounds_ask(tmp_path, from_south):
    tiles = tiles_around(BERLIN, ZOOM, 2)[0]
    stored = tiles if from_south else flipped(tiles)
    path = mbtiles(tmp_path / "a.mbtiles", stored, ZOOM, scheme="XYZ")
    with pytest.raises(BadImagery, match=r"its metadata say xyz[^\n]*\nGive the order of rows"):
        opened(path)
    assert at_home(path, tms=from_south) == ()


def test_mbtiles_without_metadata_are_read_and_zooms_that_are_none_are_not(tmp_path):
    path = mbtiles(tmp_path / "a.mbtiles", tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE metadata")
        db.executemany("INSERT INTO tiles VALUES (?, 0, 0, x'00')", [(-1,), (30,)])
    db.close()
    assert at_home(path) == ()


def test_zooms_that_count_rows_from_different_sides_are_refused(tmp_path):
    xyz_folder(tmp_path / "a", tiles_around(BERLIN, 17, 2)[0], 17)
    assert len(at_home(xyz_folder(tmp_path / "a", tiles_around(BERLIN, ZOOM, 2)[0], ZOOM))) == 1
    tms_folder(tmp_path / "b", zoom=17)
    xyz_folder(tmp_path / "b", tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    with pytest.raises(BadImagery, match="zooms 17 and 18 count from different sides"):
        opened(tmp_path / "b")


def test_zooms_that_hold_different_ground_are_no_contradiction():
    require_one_order([(17, [(1, 70_000)]), (18, [(200_000, 3)])], "tiles")
    require_one_order([(1, [(0, 0), (1, 1)]), (2, [(0, 0)]), (3, [(7, 7)])], "tiles")


def test_bounds_that_fit_both_orders_leave_it_assumed_and_said(tmp_path):
    xyz_folder(tmp_path, tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    (tmp_path / "metadata.json").write_text(json.dumps({"bounds": [-180, -85.0511, 180, 85.0511]}))
    assert "does not say how its rows count" in at_home(tmp_path)[0]


@pytest.mark.parametrize("box", [(100.0, 0.0, 101.0, 1.0), BOX])
def test_pmtiles_whose_bounds_contradict_their_tiles_are_refused(tmp_path, box, monkeypatch):
    from pmtiles import writer

    whole_header = writer.Writer.finalize

    def with_bounds(self, header, facts):
        names = ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")
        stated = {name: round(v * 1e7) for name, v in zip(names, box, strict=True)}
        return whole_header(self, {**header, **stated}, facts)

    monkeypatch.setattr(writer.Writer, "finalize", with_bounds)
    path = pmtiles(tmp_path / "a.pmtiles", tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    if box == BOX:
        assert at_home(path) == ()
    else:
        with pytest.raises(BadImagery, match="its tiles lie elsewhere"):
            opened(path)


def test_numbers_that_web_mercator_has_not_are_of_another_grid(tmp_path):
    xyz_folder(tmp_path, {(2**ZOOM + 5, 3): draw_positions(64, 64)}, ZOOM)
    with pytest.raises(BadImagery, match="Its grid is another one"):
        opened(tmp_path)


@pytest.mark.parametrize("scheme", ["tms", "xyz", None])
@pytest.mark.parametrize("lat", [48.0, 0.001, -33.0])
def test_close_bounds_decide_near_the_equator_too(scheme, lat):
    x, y = 2**17 + 9, int(2**18 * (0.5 - lat / 360.0))
    south, west, north, east = find_tile_edges(ZOOM, x, y)
    facts = TileFacts(scheme=scheme, bounds=((west, south, east, north),))
    assert choose_row_order({(x, y)}, ZOOM, facts, None, "a")[0] is False
    assert choose_row_order({(x, 2**ZOOM - 1 - y)}, ZOOM, facts, None, "a")[0] is True


def test_bounds_across_180_fit_tiles_on_both_sides():
    tiles = {(0, 5), (2**ZOOM - 1, 5)}
    _, _, north, _ = find_tile_edges(ZOOM, 0, 5)
    facts = TileFacts(bounds=((179.9, north - 0.01, -179.9, north),))
    assert choose_row_order(tiles, ZOOM, facts, None, "a") == (False, "")


@pytest.mark.parametrize("stated", [None, "x", "1,2,3", [1, 2, "a", 4], [0, 0, 0, 0], [0, 9, 1, 5]])
def test_bounds_that_mean_nothing_are_unknown(tmp_path, stated):
    assert parse_metadata({"bounds": stated}, tmp_path / "a.json").bounds == ()


@pytest.mark.parametrize("size", [256, 512])
def test_a_tile_of_any_size_covers_the_same_ground(tmp_path, size):
    for zoom in (15, 16, 17):
        xyz_folder(tmp_path, tiles_around(BERLIN, zoom, 1, size)[0], zoom)
    finest = 0.75  # 256 pixels: 0.73 m at zoom 17; 512 pixels: 0.73 m at zoom 16
    with open_sources([tmp_path], SourceOptions(finest_useful_m=finest)) as imagery:
        assert imagery.info.metres_per_px == pytest.approx(0.73, rel=0.01)
        (sheet,) = imagery.sheets
        zoom = 17 if size == 256 else 16
        _, west, _, east = imagery.info.bounds
        assert east - west == pytest.approx(360.0 / 2**zoom)
        assert sheet.grid.width_px == size


@pytest.mark.parametrize("row", [("a", 1, 2, b"d"), (None, 1, 2, b"d"), (3, 1, "x", b"d"),
                                 (3, 1, 2, "d")])  # fmt: skip
def test_mbtiles_whose_tiles_are_not_numbered_or_no_pictures_are_refused(tmp_path, row):
    path = mbtiles(tmp_path / "a.mbtiles", {}, ZOOM)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE tiles")
        db.execute("CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)")
        db.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", row)
    db.close()
    with pytest.raises(BadImagery, match="not numbered|is not a picture"):
        opened(path)


def test_tiles_on_both_sides_of_180_are_one_sheet(tmp_path):
    y = 2**ZOOM // 2
    tiles = {((2**ZOOM - 1 + i) % 2**ZOOM, y): draw_positions(64, 64, 0, 64 * i) for i in range(3)}
    _, lon, pixels, _ = opened(xyz_folder(tmp_path, tiles, ZOOM))
    assert lon == pytest.approx(180.0 - 360.0 / 2**ZOOM)
    assert np.array_equal(pixels, draw_positions(64, 192))


def test_system_files_and_odd_names_among_tiles_are_no_tiles(tmp_path):
    xyz_folder(tmp_path, tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    column = next((tmp_path / str(ZOOM)).iterdir())
    for name in ("._1.png", "²".join(["", ".png"]), "1@2x.png", "Thumbs.db"):
        (column / name).write_bytes(b"junk")
    (tmp_path / str(ZOOM) / "12.5").mkdir()
    (tmp_path / "@eaDir").mkdir()
    shutil.copytree(tmp_path / str(ZOOM), tmp_path / "@eaDir" / str(ZOOM))
    at_home(tmp_path)


def test_a_folder_of_tiles_of_double_resolution_only_is_read(tmp_path):
    xyz_folder(tmp_path, tiles_around(BERLIN, ZOOM, 2, size=128)[0], ZOOM)
    for picture in sorted(tmp_path.rglob("*.png")):
        picture.rename(picture.with_stem(f"{picture.stem}@2x"))
    at_home(tmp_path, size=128)


@pytest.mark.parametrize("empty", [b"", None])
def test_an_empty_tile_is_no_data_as_a_missing_one_is(tmp_path, empty):
    tiles = tiles_around(BERLIN, ZOOM, 2)[0]
    path = mbtiles(tmp_path / "a.mbtiles", tiles, ZOOM)
    (x, y), *_ = sorted(tiles)
    with sqlite3.connect(path) as db:
        where = "WHERE tile_column = ? AND tile_row = ?"
        db.execute(f"UPDATE tiles SET tile_data = ? {where}", (empty, x, 2**ZOOM - 1 - y))
    db.close()
    with open_sources([path]) as imagery:
        (sheet,) = imagery.sheets
        pixels, valid = sheet.store.read(sheet.box)
    assert (valid == 0).sum() == 64 * 64
    assert (valid[:64, :64] == 0).all()
    assert np.array_equal(pixels[64:], draw_positions(64, 128, 64))


def test_an_archive_of_empty_tiles_holds_nothing(tmp_path):
    folder = xyz_folder(tmp_path, tiles_around(BERLIN, ZOOM, 2)[0], ZOOM)
    for picture in folder.rglob("*.png"):
        picture.write_bytes(b"")
    with pytest.raises(BadImagery, match="only empty tiles at zoom 18"):
        opened(folder)


def test_a_colour_of_no_data_counts_in_tiles_too(tmp_path):
    pixels = draw_positions(64, 64)
    pixels[:20] = 255
    xyz_folder(tmp_path, {(140_000, 86_000): pixels}, ZOOM)
    with open_sources([tmp_path], SourceOptions(nodata=(255.0,))) as imagery:
        (sheet,) = imagery.sheets
        assert (sheet.store.read(sheet.box).valid == 0).sum() == 20 * 64
    assert png(pixels)
