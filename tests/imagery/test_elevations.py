"""Heights of files come to the cells that they belong to, and what are no heights is refused."""

from __future__ import annotations

import numpy as np
import pytest

from crossview.errors import BadImagery, TooCoarse
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon, move_point
from crossview.imagery.elevations import rasterize_cloud, read_cloud, read_heights

PLACE = LatLon(50.03, 15.76)
GRID = RasterGrid.around(PLACE, 0.4, (400, 300), 0.0)


def write_raster(path, values, spacing_m, *, nodata=None, at=PLACE, crs=32633):
    """A float raster in UTM around a place."""
    import rasterio
    from pyproj import Transformer
    from rasterio.transform import from_origin

    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(at.lon, at.lat)
    rows, columns = values.shape
    corner = from_origin(
        x - columns * spacing_m / 2, y + rows * spacing_m / 2, spacing_m, spacing_m
    )
    with rasterio.open(
        path, "w", driver="GTiff", width=columns, height=rows, count=1, dtype="float32",
        crs=f"EPSG:{crs}", transform=corner, nodata=nodata,
    ) as raster:  # fmt: skip
        raster.write(values.astype(np.float32), 1)
    return path


def draw_house(cells, spacing_m, height_m=9.0):
    """Flat ground and one house of 20 m by 12 m, 30 m east and 20 m south of the middle."""
    values = np.zeros((cells, cells), np.float32)
    middle = cells / 2.0
    row, column = middle + 20.0 / spacing_m, middle + 30.0 / spacing_m
    rows = slice(round(row - 6.0 / spacing_m), round(row + 6.0 / spacing_m))
    columns = slice(round(column - 10.0 / spacing_m), round(column + 10.0 / spacing_m))
    values[rows, columns] = height_m
    return values


def test_a_house_lands_where_it_stands(tmp_path):
    path = write_raster(tmp_path / "ndsm.tif", draw_house(600, 0.5), 0.5)
    heights, notes = read_heights(path, GRID)
    assert heights.spacing_m == pytest.approx(0.5, rel=2e-3)
    assert "above the ground" in notes[0]
    rows, columns = np.nonzero(heights.above_ground_m > 4.5)
    # UTM north leans by 0.58 degrees here: 30 m east of the middle that is 0.3 m of north.
    assert 0.4 * (columns.mean() + 0.5) - 80.0 == pytest.approx(30.0, abs=0.5)
    assert 0.4 * (rows.mean() + 0.5) - 60.0 == pytest.approx(20.0, abs=0.5)
    assert heights.above_ground_m.max() == pytest.approx(9.0, abs=0.01)


@pytest.mark.parametrize("slope", [0.0, 0.08])
def test_the_ground_is_subtracted_from_elevations(tmp_path, slope):
    ground = 220.0 + slope * 0.5 * np.arange(700)[None, :]
    path = write_raster(tmp_path / "dsm.tif", draw_house(700, 0.5) + ground, 0.5)
    heights, notes = read_heights(path, GRID)
    assert "elevations" in notes[0]
    house = heights.above_ground_m > 4.5
    assert np.median(heights.above_ground_m[house]) == pytest.approx(9.0, abs=0.3 + 15 * slope)
    assert np.percentile(heights.above_ground_m[~house], 95.0) < 0.1 + 30.0 * slope
    with pytest.raises(BadImagery, match="not metres above the ground"):
        read_heights(path, GRID, "above-ground")


def test_no_data_stays_unknown(tmp_path):
    values = draw_house(600, 0.5)
    values[:, :300] = -9999.0
    path = write_raster(tmp_path / "holes.tif", values, 0.5, nodata=-9999.0)
    above = read_heights(path, GRID)[0].above_ground_m
    assert np.isnan(above[:, :190]).all()
    assert np.isfinite(above[:, 210:]).all()
    values[:] = -9999.0
    path = write_raster(tmp_path / "empty.tif", values, 0.5, nodata=-9999.0)
    with pytest.raises(BadImagery, match="nodata"):
        read_heights(path, GRID)


def test_heights_of_another_place_say_how_far(tmp_path):
    far = move_point(PLACE, east_m=7_000.0, north_m=0.0)
    path = write_raster(tmp_path / "far.tif", draw_house(400, 0.5), 0.5, at=far)
    with pytest.raises(BadImagery, match=r"7\.0 km away"):
        read_heights(path, GRID)


def test_heights_too_far_apart_are_refused(tmp_path):
    path = write_raster(tmp_path / "srtm.tif", np.zeros((40, 40)), 90.0)
    with pytest.raises(TooCoarse, match="every 90 m"):
        read_heights(path, GRID)


def test_a_cloud_gives_the_same_house(tmp_path):
    rng = np.random.default_rng(0)
    east, north = rng.uniform(-80.0, 80.0, (2, 400_000))
    house = (np.abs(east - 30.0) < 10.0) & (np.abs(north + 20.0) < 6.0)
    xyz = np.stack([366.0 + east, 270.0 + north, 17.0 + 9.0 * house], axis=1)
    np.savez(tmp_path / "cloud.npz", xyz=xyz.astype(np.float32))
    above = read_cloud(tmp_path / "cloud.npz", GRID).above_ground_m
    rows, columns = np.nonzero(above > 4.5)
    assert 0.4 * (columns.mean() + 0.5) - 80.0 == pytest.approx(30.0, abs=0.5)
    assert 0.4 * (rows.mean() + 0.5) - 60.0 == pytest.approx(20.0, abs=0.5)
    assert len(rows) * 0.16 == pytest.approx(240.0, rel=0.15)


def test_what_is_no_cloud_is_refused(tmp_path):
    (tmp_path / "cloud.npz").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(BadImagery, match="no point cloud"):
        read_cloud(tmp_path / "cloud.npz", GRID)
    np.savez(tmp_path / "objects.npz", xyz=np.array([object()]))
    with pytest.raises(BadImagery, match="no point cloud"):
        read_cloud(tmp_path / "objects.npz", GRID)
    with pytest.raises(BadImagery, match="pdal"):
        read_cloud(tmp_path / "survey.laz", GRID)
    with pytest.raises(BadImagery, match="12 points"):
        rasterize_cloud(np.zeros((12, 3)), GRID, "a cloud")
