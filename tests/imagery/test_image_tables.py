"""Pictures whose place stands beside them: world files and tables."""

import cv2
import numpy as np
import pyproj
import pytest
from tests.imagery.georeferenced import draw_positions, info, read_only_sheet

from crossview.errors import BadImagery, NotGeoreferenced
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import is_image_table, open_sources, read_image_table
from crossview.imagery.windows import Tiling, cut_windows


@pytest.mark.parametrize("told_by", ["prj", "option"])
def test_a_picture_with_a_world_file_needs_a_system_too(tmp_path, told_by):
    cv2.imwrite(str(tmp_path / "a.png"), draw_positions(60, 80)[..., ::-1])
    (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n391000.25\n5819999.75\n")
    with pytest.raises(NotGeoreferenced, match=r"\.prj .*--crs"):
        info(tmp_path / "a.png")
    if told_by == "prj":
        (tmp_path / "a.prj").write_text(pyproj.CRS.from_epsg(32633).to_wkt("WKT1_ESRI"))
    pixels, _, sheet = read_only_sheet(tmp_path, crs=None if told_by == "prj" else "EPSG:32633")
    reference = RasterGrid(sheet.grid.crs, (0.5, 0, 391_000.0, 0, -0.5, 5_820_000.0), 80, 60)
    assert np.array_equal(pixels, draw_positions(60, 80))
    assert np.allclose(sheet.grid.latlon(3, 4), reference.latlon(3, 4), atol=1e-9)


@pytest.mark.parametrize(
    ("column", "value"), [("metres_per_px", "0.5"), ("width_m", "40.0")], ids=["scale", "width"]
)
def test_images_of_a_table_lie_where_it_says(tmp_path, column, value):
    cv2.imwrite(str(tmp_path / "a.png"), draw_positions(80, 80)[..., ::-1])
    table = f"file,lat,lon,{column},up_bearing_deg,attribution,date\n"
    table += f"a.png,60.17,24.94,{value},350,(c) NLS,2021\n"
    (tmp_path / "images.csv").write_text(table)
    with open_sources([tmp_path]) as imagery:
        (window,) = cut_windows(imagery, Tiling(footprint_m=40.0, stride_m=10.0))
    assert measure_distance_m(LatLon(window.lat, window.lon), LatLon(60.17, 24.94)) < 1e-3
    assert window.up_bearing_deg == pytest.approx(-10.0, abs=1e-6)
    assert window.metres_per_px == pytest.approx(0.5, abs=1e-4)
    assert (imagery.info.attribution, imagery.info.date) == ("(c) NLS", "2021")


def test_the_scale_of_a_whole_table_can_be_given(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), draw_positions(80, 80)[..., ::-1])
    (tmp_path / "a.csv").write_text("file,lat,lon\na.png,60.17,24.94\n")
    with pytest.raises(BadImagery, match="--metres-per-px or --width-m"):
        info(tmp_path / "a.csv")
    assert info(tmp_path / "a.csv", width_m=80.0).metres_per_px == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,lat,lon\n", "no column file"),
        ("file,lat,lon,metres_per_px\na.png,95,24,0.5\n", "line 2: lat is '95'"),
        ("file,lat,lon,metres_per_px\na.png,60,east,0.5\n", "line 2: lon is 'east'"),
        ("file,lat,lon,metres_per_px\na.png,60,24,-1\n", "line 2: metres_per_px must be > 0"),
        ("file,lat,lon,metres_per_px\n,60,24,1\n", "line 2: file is empty"),
        ("file,lat,lon,metres_per_px\nb.png,60,24,1\n", r"There is no .*b\.png"),
        ("file,lat,lon,metres_per_px\na.png,52,5,13,4,0,3\n", "line 2: 7 cells, but .* 4"),
        ("file,lat,lon,metres_per_px\na.png,52,52,13,4\n", "line 2: 5 cells, but .* 4"),
        ("file,lat,lon,lat,metres_per_px\na.png,60,24,61,1\n", "the column lat is there twice"),
        ("file,lat,lon,width_m\na.png,60,24,9\n./a.png,61,24,9\n", "line 3: ./a.png is in line 2"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, table, said):
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(BadImagery, match=said):
        info(tmp_path / "a.csv")


def test_a_table_as_a_spreadsheet_saves_it(tmp_path):
    text = "File;Lat;Lon;Metres_per_px;Attribution\r\nä.png;60,17;24,94;0,5;(c) Köln, NRW\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.csv").write_bytes(text.encode(encoding))
        assert is_image_table(tmp_path / "a.csv")
        (row,) = read_image_table(tmp_path / "a.csv", SourceOptions())
        assert (row.centre, row.metres_per_px) == (LatLon(60.17, 24.94), 0.5)
        assert row.attribution == "(c) Köln, NRW"


def test_two_scales_of_one_image_must_agree(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), draw_positions(80, 80)[..., ::-1])
    table = "file,lat,lon,metres_per_px,width_m\na.png,60.17,24.94,0.5,{}\n"
    (tmp_path / "a.csv").write_text(table.format(41.9))
    assert info(tmp_path / "a.csv").metres_per_px == pytest.approx(0.5)
    (tmp_path / "a.csv").write_text(table.format(42.3))
    with pytest.raises(BadImagery, match="80 pixels of 0.5 m are 40 m, but width_m is 42.3"):
        info(tmp_path / "a.csv")


def test_an_image_that_is_listed_again_with_the_same_facts_is_one_image(tmp_path):
    (tmp_path / "a.csv").write_text("file,lat,lon,width_m\na.png,60,24,9\n.//a.png,60.0,24,9.0\n")
    (row,) = read_image_table(tmp_path / "a.csv", SourceOptions())
    assert row.path == tmp_path / "a.png"


def test_a_name_that_is_longer_than_any_is_a_file_that_is_not_there(tmp_path):
    (tmp_path / "images.csv").write_text(f"file,lat,lon,width_m\n{'a' * 5000}.png,60,24,40\n")
    with pytest.raises(BadImagery, match="There is no .*, which the table names"):
        info(tmp_path / "images.csv")
