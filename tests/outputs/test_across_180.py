"""A region on both sides of longitude 180 is one region, from imagery to maps."""

import hashlib
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine
from tests.imagery.georeferenced import draw_positions, geotiff, read_position
from tests.index.regions import indexed, meadow

from crossview.geo.mercator import Extent, enclose_points
from crossview.geo.points import measure_distances_m, split_regions
from crossview.imagery.sources import open_sources
from crossview.index.build import add_to_index
from crossview.index.store import PLACES, FileFacts, Index, write_manifest
from crossview.outputs.map_layers import build_heat_grid, drape, draw_base_map
from crossview.service.regions import MapTiles

PIXEL_DEG = 0.5 / 111_195.0


def raster(path, west, pixels):
    """0.5 m per pixel just north of the equator, in degrees."""
    grid = Affine(PIXEL_DEG, 0, west, 0, -PIXEL_DEG, 0.01)
    return geotiff(path, pixels, crs="EPSG:4326", transform=grid)


@pytest.fixture(scope="module")
def across(tmp_path_factory):
    """250 m x 200 m, of which 100 m lie west of longitude 180."""
    folder = tmp_path_factory.mktemp("across")
    return indexed(folder, paths=[raster(folder / "a.tif", 180.0 - 200 * PIXEL_DEG, meadow())])


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The same in the middle of nowhere: what all figures must be like."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return indexed(folder, paths=[raster(folder / "a.tif", 20.0, meadow())])


def test_windows_lie_on_both_sides_and_cover_the_same_ground(across, elsewhere):
    assert np.abs(across.lon).max() <= 180.0
    assert {float(side) for side in np.sign(across.lon)} == {-1.0, 1.0}
    assert across.count == elsewhere.count
    assert across.manifest.area_km2 == pytest.approx(elsewhere.manifest.area_km2, rel=0.02)


def test_bounds_run_from_west_to_east_over_180(across):
    south, west, north, east = across.manifest.imagery.bounds
    assert (west, east) == pytest.approx((180 - 200 * PIXEL_DEG, -180 + 300 * PIXEL_DEG))
    assert 0.0 < south < north < 0.02


def test_an_index_of_before_with_longitudes_beyond_180_opens_wrapped(across, tmp_path):
    for file in across.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    segments = []
    for segment in across.manifest.segments:
        path = tmp_path / f"{segment.name}.{PLACES}"
        places = np.load(path)
        places[:, 1] %= 360.0
        np.save(path, places)
        data = path.read_bytes()
        facts = FileFacts(len(data), hashlib.sha256(data).hexdigest())
        segments.append(replace(segment, files={**segment.files, path.name: facts}))
    write_manifest(tmp_path, replace(across.manifest, segments=tuple(segments)))
    opened = Index.open(tmp_path)
    assert np.allclose(opened.lon, across.lon, atol=1e-9)
    assert opened.footprint(0).corners()


def test_imagery_counted_to_360_is_the_same_imagery(tmp_path):
    with open_sources([raster(tmp_path / "a.tif", 185.0, draw_positions(40, 40))]) as imagery:
        assert imagery.info.bounds[1] == pytest.approx(-175.0)
        (sheet,) = imagery.sheets
        lat, lon = sheet.grid.latlon(10.0, 20.0)
        assert [float(v) for v in sheet.grid.pixel(lat, lon)] == pytest.approx([10.0, 20.0])


def test_added_imagery_on_the_other_side_joins_the_bounds(tmp_path):
    from tests.index.regions import TOY

    index = indexed(tmp_path, paths=[raster(tmp_path / "a.tif", 179.99, meadow())])
    with open_sources([raster(tmp_path / "b.tif", -179.99, meadow(seed=1))]) as imagery:
        both = add_to_index(imagery, TOY, index.path)
    _, west, _, east = both.manifest.imagery.bounds
    assert (west, east) == pytest.approx((179.99, -179.99 + 500 * PIXEL_DEG))


def test_the_region_is_one_and_its_box_is_small(across):
    (rows,) = split_regions(across.lat, across.lon, 4 * 80.0)
    assert len(rows) == across.count
    box = enclose_points(across.lat, across.lon, across.manifest.footprint_m / 2.0)
    assert box.size_m()[0] == pytest.approx(250.0, abs=5.0)
    assert box.bounds[1] > 179.99 > -179.99 > box.bounds[3]


def test_places_and_pixels_of_a_box_are_inverse_on_both_sides():
    box = Extent(0.0, 179.9, 0.2, 180.1)
    columns, rows = np.array([10.0, 90.0]), np.array([20.0, 70.0])
    lat, lon = box.places(columns, rows, (100, 100))
    assert lon == pytest.approx([179.92, -179.92])
    assert np.allclose(box.pixel(lat, lon, (100, 100)).T, [columns, rows])


@pytest.mark.parametrize(
    ("west", "east", "meets"),
    [(179.0, 179.95, True), (-180.0, -179.95, True), (-170.0, 170.0, False), (-180.0, 180.0, True)],
)
def test_boxes_meet_whichever_way_they_are_counted(west, east, meets):
    box, other = Extent(0.0, 179.9, 1.0, 180.1), Extent(0.0, west, 1.0, east)
    assert box.meets(other) is meets
    assert other.meets(box) is meets


def test_the_base_map_shows_each_pixel_where_it_lies(tmp_path):
    path = raster(tmp_path / "a.tif", 180.0 - 200 * PIXEL_DEG, draw_positions(400, 500))
    with open_sources([path]) as imagery:
        south, west, north, east = imagery.info.bounds
        box = Extent(south, west, north, east + 360.0)
        canvas = drape(imagery.sheets, box, (500, 400))
        whole = drape(imagery.sheets, Extent(south, -180.0, north, 180.0), (100_000, 2))
    for column, row in [(50, 50), (199, 200), (201, 200), (450, 333)]:
        assert read_position(canvas[row, column, :3]) == pytest.approx((column, row), abs=2)
    seen = np.flatnonzero(whole[0, :, 3])
    assert {0, 99_999} >= set(seen.tolist())


def test_the_page_s_base_map_is_one_picture(across):
    (overlay,) = draw_base_map(across, 10_000_000).overlays
    alpha = np.asarray(Image.open(BytesIO(overlay.webp)).convert("RGBA"))[..., 3]
    assert (alpha > 0).mean() > 0.95


def test_heat_cells_that_stand_for_many_windows_lie_among_them(across, elsewhere):
    grid, other = (
        build_heat_grid(i.lat, i.lon, i.manifest.stride_m, 6) for i in (across, elsewhere)
    )
    assert len(grid.lat) <= 6
    assert np.abs(grid.lon).max() <= 180.0
    for cell in range(len(grid.lat)):
        place = across.footprint(0).centre.__class__(float(grid.lat[cell]), float(grid.lon[cell]))
        own = grid.of_window == cell
        assert (
            measure_distances_m(place, across.lat[own], across.lon[own]).max() < 2 * grid.spacing_m
        )
    assert len(other.lat) == pytest.approx(len(grid.lat), abs=3)


def test_map_tiles_on_both_sides_show_imagery(across):
    tiles = MapTiles(across)
    row = int(2**17 * 0.5 * (1 - 0.0095 / 180))
    assert tiles.get(17, 2**17 - 1, row) is not None
    assert tiles.get(17, 0, row) is not None
    assert tiles.get(17, 2**16, row) is None


def test_coverage_is_cut_at_180(across):
    from types import SimpleNamespace

    from crossview.service.responses import build_coverage

    (feature,) = build_coverage(SimpleNamespace(index=across))["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    lons = np.array(json.loads(json.dumps(feature["geometry"]["coordinates"])))[..., 0]
    assert np.abs(lons).max() == 180.0
    assert {float(side) for side in np.sign(lons).mean(axis=(1, 2))} == {-1.0, 1.0}
