"""Where a raster lies: its own tags, files beside it, --crs, and what contradicts what."""

from xml.sax.saxutils import escape

import numpy as np
import pyproj
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from tests.imagery.georeferenced import draw_positions, geotiff, read_only_sheet, read_position

from crossview.errors import BadImagery, InvalidValue, NotGeoreferenced
from crossview.geo.grids import names_files
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import open_sources

LOCAL = (
    'LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
)
USUAL = (0.5, 0.0, 391_000.0, 0.0, -0.5, 5_820_000.0)


def corner(path, **options):
    """The place of the upper left corner, and the notes."""
    with open_sources([path], SourceOptions(**options)) as imagery:
        (sheet,) = imagery.sheets
        lat, lon = sheet.grid.latlon(0.0, 0.0)
        return LatLon(float(lat), float(lon)), imagery.notes


def place(x, y, crs="EPSG:32633"):
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return LatLon(lat, lon)


def picture(path, world="0.5\n0\n0\n-0.5\n391000.25\n5819999.75\n", encoding="utf-8", prj=None):
    Image.fromarray(draw_positions(40, 60)).save(path)
    if world is not None:
        path.with_suffix(".pgw").write_bytes(world.encode(encoding))
    if prj is not None:
        path.with_suffix(".prj").write_bytes(prj)
    return path


def wkt(code):
    return pyproj.CRS.from_epsg(code).to_wkt("WKT1_ESRI")


def altered(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


# --- --crs


def test_crs_overrules_a_local_system_as_the_error_advises(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs=LOCAL)
    with pytest.raises(NotGeoreferenced, match=r"a\.tif[\s\S]*--crs EPSG:25833"):
        corner(path)
    assert measure_distance_m(corner(path, crs="EPSG:32633")[0], place(391e3, 5.82e6)) < 0.01


def test_crs_overrules_a_system_that_is_there_and_says_so(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs="EPSG:32632")
    at, (note,) = corner(path, crs="EPSG:32633")
    assert measure_distance_m(at, place(391e3, 5.82e6)) < 0.01
    assert "a.tif: EPSG:32633 was taken, as --crs says" in note
    assert corner(path, crs="EPSG:32632")[1] == ()


@pytest.mark.parametrize(("east_m", "noted"), [(0.9, False), (1.1, True), (100.0, True)])
def test_a_system_that_moves_the_picture_by_a_metre_or_more_is_worth_a_word(
    tmp_path, east_m, noted
):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs="EPSG:32633")
    moved = f"+proj=tmerc +lon_0=15 +k=0.9996 +x_0={500_000 + east_m} +datum=WGS84 +type=crs"
    assert bool(corner(path, crs=moved)[1]) is noted


def test_one_note_stands_for_many_files(tmp_path):
    for name in "abc":
        geotiff(tmp_path / f"{name}.tif", draw_positions(40, 60), crs="EPSG:32632")
    with open_sources([tmp_path], SourceOptions(crs="EPSG:32633")) as imagery:
        (note,) = imagery.notes
    assert note.startswith("a.tif and 2 more: ")


@pytest.mark.parametrize("crs", ["EPSG:1", "nonsense", LOCAL])
def test_crs_must_itself_be_usable(tmp_path, crs):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    with pytest.raises((InvalidValue, NotGeoreferenced)):
        corner(path, crs=crs)


def test_a_prj_stands_in_for_a_system_that_cannot_be_used(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs=LOCAL)
    (tmp_path / "a.prj").write_text(wkt(32633))
    assert measure_distance_m(corner(path)[0], place(391e3, 5.82e6)) < 0.01


def test_a_name_that_is_not_in_utf_8_asks_for_crs_and_keeps_the_place(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs=LOCAL)
    altered(path, b"Lambert-93", b"Lamb\xe9rt-93")
    with pytest.raises(NotGeoreferenced, match="not in UTF-8"):
        corner(path)
    at, _ = corner(path, crs="EPSG:32633")
    assert measure_distance_m(at, place(391e3, 5.82e6)) < 0.01
    assert np.array_equal(read_only_sheet(path, crs="EPSG:32633")[0], draw_positions(40, 60))


@pytest.mark.parametrize("code", [32767, 1])
def test_unknown_keys_ask_for_crs(tmp_path, code):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    key = np.array([3072, 0, 1, 32_633], "<u2").tobytes()
    altered(path, key, np.array([3072, 0, 1, code], "<u2").tobytes())
    with pytest.raises(BadImagery, match="--crs"):
        corner(path)
    assert measure_distance_m(corner(path, crs="EPSG:32633")[0], place(391e3, 5.82e6)) < 0.01


# --- files beside a raster


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_world_files_and_prj_are_read_in_any_unicode(tmp_path, encoding):
    path = picture(tmp_path / "a.png", encoding=encoding, prj=wkt(32633).encode(encoding))
    assert measure_distance_m(corner(path)[0], place(391e3, 5.82e6)) < 0.01


def test_a_prj_in_latin_1_is_read(tmp_path):
    named = wkt(32633).replace("WGS_1984_UTM_Zone_33N", "Köln").encode("latin-1")
    path = picture(tmp_path / "a.png", prj=named)
    assert measure_distance_m(corner(path)[0], place(391e3, 5.82e6)) < 0.01


@pytest.mark.parametrize(
    ("world", "why"),
    [
        ("0,5\n0\n0\n-0,5\n391000,25\n5819999,75\n", r"'0,5' is not a number[\s\S]*decimal point"),
        ("0.5\n0\n0\n-0.5\n391000,25\n5819999.75\n", "'391000,25' is not a number"),
        ("0.5\n0\n0\n-0.5\n391000.25\n", "only 5 numbers"),
        ("0.5\n0\n0\n-0.5\nnan\n1\n", "'nan' is not a number"),
        ("0.5\n0\n0\n-0.5\n1e999\n1\n", "too large"),
        ("0\n0\n0\n0\n391000.25\n5819999.75\n", "cover no ground"),
    ],
)
def test_a_world_file_that_is_not_certain_is_refused(tmp_path, world, why):
    with pytest.raises(NotGeoreferenced, match=why):
        corner(picture(tmp_path / "a.png", world, prj=wkt(32633).encode()))


@pytest.mark.parametrize("kept", ["<PAMDataset><Metadata/></PAMDataset>", ""])
def test_facts_of_the_library_beside_a_picture_are_no_transform(tmp_path, kept):
    path = picture(tmp_path / "a.png", encoding="utf-8-sig", prj=wkt(32633).encode())
    path.with_name("a.png.aux.xml").write_text(kept)
    assert measure_distance_m(corner(path)[0], place(391e3, 5.82e6)) < 0.01
    path.with_suffix(".pgw").write_text("0,5\n0\n0\n-0,5\n391000,25\n5819999,75\n")
    with pytest.raises(NotGeoreferenced, match="decimal point"):
        corner(path)


def test_two_world_files_that_disagree_are_refused(tmp_path):
    path = picture(tmp_path / "a.png", prj=wkt(32633).encode())
    path.with_suffix(".wld").write_text("0.5\n0\n0\n-0.5\n391900.25\n5819999.75\n")
    with pytest.raises(NotGeoreferenced, match=r"disagree: a\.pgw and a\.wld"):
        corner(path)


@pytest.mark.parametrize("world", ["0.5\n0\n0\n-0.5\n400000\n5820000\n", "junk"])
def test_what_lies_in_the_file_wins_over_a_world_file(tmp_path, world):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    (tmp_path / "a.tfw").write_text(world)
    at, notes = corner(path)
    assert measure_distance_m(at, place(391e3, 5.82e6)) < 0.01
    assert len(notes) == (0 if world == "junk" else 1)
    (tmp_path / "a.tfw").write_text("0.5\n0\n0\n-0.5\n391000.25\n5819999.75\n")
    assert corner(path)[1] == ()


@pytest.mark.parametrize(
    ("inside", "note"),
    [
        ("<GeoTransform>400000, 0.5, 0, 5820000, 0, -0.5</GeoTransform>", "the transform of"),
        (f"<SRS>{escape(wkt(32632))}</SRS>", "the reference system of"),
        (f"<SRS>{escape(wkt(32633))}</SRS>", ""),
        ("<GeoTransform>391000, 0.5, 0, 5820000, 0, -0.5</GeoTransform>", ""),
        ("<Metadata/>", ""),
    ],
)
def test_what_the_library_keeps_beside_a_geotiff_overrules_it_and_is_said(tmp_path, inside, note):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{inside}</PAMDataset>")
    notes = corner(path)[1]
    assert len(notes) == (1 if note else 0)
    assert not note or f"{note} a.tif.aux.xml was taken" in notes[0]


@pytest.mark.parametrize(("world", "prj"), [("PGW", "PRJ"), ("Pgw", "Prj"), ("pgW", "prj")])
def test_files_beside_a_picture_are_found_whatever_their_case(tmp_path, world, prj):
    path = picture(tmp_path / "a.png", prj=wkt(32633).encode())
    path.with_suffix(".pgw").rename(path.with_suffix(f".{world}"))
    path.with_suffix(".prj").rename(path.with_suffix(f".{prj}"))
    assert measure_distance_m(corner(path)[0], place(391e3, 5.82e6)) < 0.01


def test_what_lies_in_the_file_wins_over_a_prj(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    (tmp_path / "a.prj").write_text(wkt(32632))
    at, (note,) = corner(path)
    assert measure_distance_m(at, place(391e3, 5.82e6)) < 0.01
    assert "its own reference system was taken" in note


# --- transforms and units


@pytest.mark.parametrize("turn", [0.0, 30.0, 135.0, -90.0])
def test_rotated_rasters_know_where_up_is(tmp_path, turn):
    grid = Affine.translation(391e3, 5.82e6) @ Affine.rotation(turn) @ Affine.scale(0.5, -0.5)
    with open_sources(
        [geotiff(tmp_path / "a.tif", draw_positions(40, 60), transform=grid)]
    ) as imagery:
        (sheet,) = imagery.sheets
        ground = sheet.grid.ground(30.0, 20.0)
        lat, lon = sheet.grid.latlon(30.0, 20.0)
    x, y = grid @ (30.0, 20.0)
    assert measure_distance_m(LatLon(float(lat), float(lon)), place(x, y)) < 0.01
    convergence = -1.27  # of zone 33 there
    off = (float(ground.up_bearing_deg) - convergence + turn + 180.0) % 360.0 - 180.0
    assert off == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize(("shear", "allowed"), [(0.0, True), (5.0, True), (15.0, False)])
def test_a_sheared_grid_is_refused_beyond_10_degrees(tmp_path, shear, allowed):
    grid = Affine.translation(391e3, 5.82e6) @ Affine.shear(shear, 0.0) @ Affine.scale(0.5, -0.5)
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), transform=grid)
    if allowed:
        corner(path)
    else:
        with pytest.raises(NotGeoreferenced, match="rows and columns meet at"):
            corner(path)


@pytest.mark.parametrize("flip", ["south up", "east to west", "both"])
def test_flipped_rasters_show_each_pixel_where_it_lies(tmp_path, flip):
    across, down = {"south up": (0.5, 0.5), "east to west": (-0.5, -0.5), "both": (-0.5, 0.5)}[flip]
    grid = Affine(across, 0, 391e3, 0, down, 5.82e6)
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), transform=grid)
    pixels, _, sheet = read_only_sheet(path)
    for row, column in ((3, 5), (30, 50)):
        lat, lon = sheet.grid.latlon(column + 0.5, row + 0.5)
        stored = read_position(pixels[row, column])
        x, y = grid @ (stored[0] + 0.5, stored[1] + 0.5)
        assert measure_distance_m(LatLon(float(lat), float(lon)), place(x, y)) < 0.01


def test_a_pixel_that_is_a_point_lies_in_its_middle(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), tags={"AREA_OR_POINT": "Point"})
    assert (
        measure_distance_m(corner(path)[0], place(391e3, 5.82e6)) < 0.01
    )  # the library's own half pixel
    from crossview.imagery.rasters import read_tag_transform, read_tiff_tags

    assert read_tag_transform(read_tiff_tags(path)) == pytest.approx(USUAL)


def test_our_own_reading_of_the_tags_is_the_library_s(tmp_path):
    from crossview.imagery.rasters import read_tag_transform, read_tiff_tags

    for bigtiff in ("YES", "NO"):
        path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), BIGTIFF=bigtiff)
        assert read_tag_transform(read_tiff_tags(path)) == pytest.approx(USUAL)
        turned = Affine(*USUAL) @ Affine.rotation(20.0)
        geotiff(path, draw_positions(40, 60), transform=turned, BIGTIFF=bigtiff)
        assert read_tag_transform(read_tiff_tags(path)) == pytest.approx(tuple(turned)[:6])


@pytest.mark.parametrize(
    ("crs", "x", "y", "px", "metres"),
    [
        ("EPSG:2225", 6_000_000.0, 2_200_000.0, 1.0, 0.3048),  # feet
        ("EPSG:4807", 2.0, 54.0, 1e-5, None),  # grads from Paris
        ("EPSG:4326", 13.4, 52.5, 1e-5, 1.113),
        ("EPSG:3857", 1_492_000.0, 6_894_000.0, 1.0, 0.61),
    ],
)
def test_units_other_than_metres_are_the_system_s(tmp_path, crs, x, y, px, metres):
    grid = Affine(px, 0, x, 0, -px, y)
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs=crs, transform=grid)
    with open_sources([path]) as imagery:
        (sheet,) = imagery.sheets
        lat, lon = sheet.grid.latlon(0.0, 0.0)
    assert measure_distance_m(LatLon(float(lat), float(lon)), place(x, y, crs)) < 0.01
    if metres is not None:
        assert sheet.metres_per_px == pytest.approx(metres, rel=0.01)


def test_a_system_that_proj_cannot_convert_is_refused(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs="EPSG:2296")
    with pytest.raises(NotGeoreferenced, match=r"PROJ cannot convert[\s\S]*--crs"):
        corner(path)


@pytest.mark.parametrize(("x", "y"), [(52.5, 103.4), (391e3, 5.82e6)])
def test_degrees_that_are_none_are_refused_with_both_reasons(tmp_path, x, y):
    grid = Affine(1e-5, 0, x, 0, -1e-5, y)
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs="EPSG:4326", transform=grid)
    with pytest.raises(NotGeoreferenced, match="not degrees on Earth"):
        corner(path)


def test_control_points_alone_are_refused_with_what_to_do(tmp_path):
    path = tmp_path / "a.tif"
    points = [GroundControlPoint(0, 0, 391e3, 5.82e6), GroundControlPoint(0, 60, 391030, 5.82e6),
              GroundControlPoint(40, 0, 391e3, 5819980)]  # fmt: skip
    with rasterio.open(path, "w", driver="GTiff", height=40, width=60, count=3, dtype="uint8",
                       gcps=points, crs="EPSG:32633") as raster:  # fmt: skip
        raster.write(np.moveaxis(draw_positions(40, 60), -1, 0))
    with pytest.raises(NotGeoreferenced, match="gdalwarp"):
        corner(path)


# --- texts and system files


@pytest.mark.parametrize("text", ["Stadt Köln", "(c) Kraków 2024"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1250"])
def test_an_attribution_is_kept_whatever_its_encoding(tmp_path, text, encoding):
    expected = text
    if encoding == "cp1250":
        text, expected = "Stadt Köln", "Stadt Köln"
    stand_in = "x" * len(text.encode(encoding))
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), tags={"TIFFTAG_COPYRIGHT": stand_in})
    altered(path, stand_in.encode(), text.encode(encoding))
    with open_sources([path]) as imagery:
        assert imagery.info.attribution == expected


def test_system_files_in_a_folder_are_no_imagery(tmp_path):
    geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    junk = b"\0\5\16\7\0\2\0\0Mac OS X" + bytes(200)
    for name in ("._a.tif", "._b.csv", ".hidden.tif", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(junk)
    with open_sources([tmp_path]) as imagery:
        assert len(imagery.sheets) == 1
        assert imagery.ignored == ()


def test_a_file_of_the_mac_given_by_name_is_refused_with_its_reason(tmp_path):
    (tmp_path / "._a.tif").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(200))
    with pytest.raises(BadImagery, match=r"macOS keeps there[\s\S]*of that name itself"):
        open_sources([tmp_path / "._a.tif"])


# --- datum shifts


def nad27_76(path):
    """A raster in Ontario's NAD27(76), for which PROJ has no shift without a grid."""
    x, y = pyproj.Transformer.from_crs(4326, 2029, always_xy=True).transform(-81.0, 44.0)
    return geotiff(
        path, draw_positions(400, 500), crs="EPSG:2029", transform=Affine(0.5, 0, x, 0, -0.5, y)
    )


def test_a_missing_datum_shift_is_kept_and_goes_with_every_answer(tmp_path):
    from tests.index.regions import indexed

    from crossview.index.store import read_manifest

    index = indexed(tmp_path, paths=[nad27_76(tmp_path / "a.tif")])
    (warning,) = index.manifest.imagery.warnings
    assert "knows no datum shift from NAD27(76)" in warning
    assert warning in index.manifest.warnings
    assert read_manifest(index.path).imagery.warnings == (warning,)


def test_warnings_of_added_imagery_join_those_that_are_there(tmp_path):
    usual = geotiff(tmp_path / "b.tif", draw_positions(40, 60))
    with open_sources([nad27_76(tmp_path / "a.tif")]) as one, open_sources([usual]) as other:
        assert other.info.warnings == ()
        assert one.info.merge(other.info).warnings == one.info.warnings
        assert one.info.merge(one.info).warnings == one.info.warnings


def test_facts_that_were_written_before_there_were_warnings_are_read(tmp_path):
    from crossview.imagery.provenance import ImageryInfo

    with open_sources([geotiff(tmp_path / "a.tif", draw_positions(40, 60))]) as imagery:
        values = imagery.info.to_json()
    del values["warnings"], values["options"]["tms"], values["options"]["nodata"]
    assert ImageryInfo.from_json(values) == imagery.info


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:32661", "EPSG:3031"])
@pytest.mark.parametrize("off_px", [0, 4])
def test_imagery_around_a_pole_is_read_and_has_every_longitude(tmp_path, crs, off_px):
    pole = -90.0 if crs == "EPSG:3031" else 90.0
    lon_lat = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    x, y = lon_lat.transform(0.0, pole)
    grid = Affine(0.5, 0, x - 15 - off_px * 0.5, 0, -0.5, y + 10)
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs=crs, transform=grid)
    with open_sources([path]) as imagery:
        south, west, north, east = imagery.info.bounds
    assert (west, east) == (-180.0, 180.0)
    assert pole in (south, north)
    assert 89.999 < min(abs(south), abs(north)) < 89.9999


def test_imagery_that_begins_at_a_pole_keeps_its_own_longitudes(tmp_path):
    grid = Affine(1e-5, 0, 13.0, 0, -1e-5, 90.0)
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60), crs="EPSG:4326", transform=grid)
    with open_sources([path]) as imagery:
        assert imagery.info.bounds == pytest.approx((89.9996, 13.0, 90.0, 13.0006))


@pytest.mark.parametrize(
    "text",
    [
        "+init={file}:x",
        "+proj=longlat +ellps=GRS80 +nadgrids={file}",
        "+proj=longlat +ellps=GRS80 +geoidgrids=@{file} +no_defs",
        "+proj=pipeline +step +proj=hgridshift +grids={file}",
        'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298]],PRIMEM["x",0],UNIT["degree",0.017453],'
        'EXTENSION["PROJ4","+proj=longlat +nadgrids={file}"]]',
        'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298],EXTENSION["PROJ4_GRIDS","{file}"]],'
        'PRIMEM["x",0],UNIT["degree",0.017453]]',
    ],
)
def test_the_reference_system_of_a_stranger_opens_no_file(tmp_path, monkeypatch, text):
    asked = []
    monkeypatch.setattr(pyproj.CRS, "from_user_input", asked.append)
    path = picture(tmp_path / "a.png", prj=text.format(file=tmp_path / "grid.gsb").encode())
    with pytest.raises(NotGeoreferenced, match=r"the \.prj beside it holds no system"):
        corner(path)
    assert asked == []


def test_no_reference_system_of_the_registry_is_taken_for_one_that_opens_files():
    for code in (3857, 25833, 4326, 27700, 28992, 2056, 4267, 26716, 31467, 3067, 5514, 2154):
        system = pyproj.CRS.from_epsg(code)
        for version in ("WKT1_GDAL", "WKT1_ESRI", "WKT2_2019"):
            assert not names_files(system.to_wkt(version)), (code, version)


@pytest.mark.parametrize("pixel", ["9e6", "-9e6", "0.5e9"])
def test_a_raster_wider_than_the_earth_is_refused(tmp_path, pixel):
    world = f"{pixel}\n0\n0\n-0.5\n391000\n5820000\n"
    path = picture(tmp_path / "a.png", world=world, prj=wkt(25833).encode())
    with pytest.raises(NotGeoreferenced, match="times around the Earth"):
        corner(path)
