"""A town's own map, given as an orthophoto: squares of it, and a part that is kept apart."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from crossview.errors import BadData, BadImagery, CannotWrite, EmptyRegion, TooCoarse
from crossview.geo.points import measure_distance_m
from crossview.imagery.orthophotos import (
    LEAST_TILE_M,
    add_heights,
    add_outlines,
    check_first,
    cut_orthophotos,
    plan_squares,
    prepare_region,
)
from crossview.imagery.sources import open_sources
from crossview.worlds.camera import render_orthophoto
from crossview.worlds.ortho_pairs import OrthoPlan
from crossview.worlds.orthoworld import read_ground
from crossview.worlds.outlines import read_plans
from crossview.worlds.town import APRON_M, CELL_M, EPSG, build_town
from crossview.worlds.write import write_geotiff


@pytest.fixture(scope="module")
def town():
    return build_town("suburb", 20_005, 320.0)


@pytest.fixture(scope="module")
def map_file(town, tmp_path_factory):
    path = tmp_path_factory.mktemp("region") / "aerial.tif"
    write_geotiff(path, town, render_orthophoto(town))
    return path


def test_squares_lie_where_the_imagery_says(town, map_file):
    with open_sources([map_file]) as imagery:
        tiles = list(cut_orthophotos(plan_squares(imagery, kept_share=0.0, side_m=160.0)))
    assert len(tiles) > 4
    assert {tile.split for tile in tiles} == {"train"}
    corner = town.site.latlon(APRON_M, APRON_M)
    first = read_ground(tiles[0]).locate(0.0, 0.0)
    assert measure_distance_m(corner, first) < 0.5


def test_the_part_kept_apart_shares_no_ground_with_the_rest(map_file, tmp_path):
    with open_sources([map_file]) as imagery:
        region = prepare_region(
            imagery, tmp_path, pairs=12, kept_share=0.4, plan=OrthoPlan(), workers=1
        )
        assert list(region.draw())[-1] == region.squares
    assert set(region.count_pairs()) == {"train", "val"}
    rows = list(csv.DictReader((tmp_path / "pairs.csv").open(encoding="utf-8")))
    lat = {split: [float(r["aerial_lat"]) for r in rows if r["split"] == split]
           for split in ("train", "val")}  # fmt: skip
    apart_m = (min(lat["train"]) - max(lat["val"])) * 111_000.0
    assert apart_m > 104.0
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_a_region_that_is_too_small_is_told_the_size_that_would_do(tmp_path):
    town = build_town("old", 1, 200.0)
    write_geotiff(tmp_path / "small.tif", town, render_orthophoto(town))
    with (
        open_sources([tmp_path / "small.tif"]) as imagery,
        pytest.raises(EmptyRegion, match=r"A region of \d+ m would do"),
    ):
        plan_squares(imagery)
    write_geotiff(tmp_path / "tiny.tif", town, np.full((250, 250, 3), 90, np.uint8))
    with (
        open_sources([tmp_path / "tiny.tif"]) as imagery,
        pytest.raises(EmptyRegion, match=f"{LEAST_TILE_M:.0f} m at least"),
    ):
        plan_squares(imagery)


def test_imagery_that_is_too_coarse_is_refused(tmp_path):
    import rasterio
    from rasterio.transform import from_origin

    profile = {"driver": "GTiff", "width": 400, "height": 400, "count": 3, "dtype": "uint8",
               "crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 1.5, 1.5)}  # fmt: skip
    with rasterio.open(tmp_path / "coarse.tif", "w", **profile) as raster:
        raster.write(np.random.default_rng(0).integers(0, 255, (3, 400, 400), np.uint8))
    with (
        open_sources([tmp_path / "coarse.tif"]) as imagery,
        pytest.raises(TooCoarse, match=r"1\.50 m per pixel"),
    ):
        prepare_region(imagery, tmp_path / "out", pairs=9, kept_share=0.2, plan=OrthoPlan())


def write_outlines(path, ring):
    feature = {"type": "Feature", "properties": {"height": 6},
               "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def test_outlines_stand_on_the_squares_that_they_touch(town, map_file, tmp_path):
    corners = ((40.0, 40.0), (60.0, 40.0), (50.0, 60.0))
    at = [town.site.latlon(APRON_M + east, APRON_M + south) for east, south in corners]
    ring = [[place.lon, place.lat] for place in (*at, at[0])]
    plans = read_plans(write_outlines(tmp_path / "one.geojson", ring))
    with open_sources([map_file]) as imagery:
        squares = plan_squares(imagery, kept_share=0.0, side_m=160.0)
        tiles = list(add_outlines(cut_orthophotos(squares), plans))
    built = [tile for tile in tiles if (tile.outlines.building > 0).any()]
    assert 0 < len(built) < len(tiles)
    ground = read_ground(built[0])
    row, column = np.argwhere(built[0].outlines.building > 0).mean(axis=0)
    middle = town.site.latlon(APRON_M + 50.0, APRON_M + 46.7)
    assert measure_distance_m(ground.locate(column * CELL_M, row * CELL_M), middle) < 1.5


def test_outlines_and_heights_of_another_place_are_refused_before_the_work(map_file, tmp_path):
    ring = [[10.0, 50.0], [10.001, 50.0], [10.001, 50.001], [10.0, 50.0]]
    outlines = write_outlines(tmp_path / "elsewhere.geojson", ring)
    heights = tmp_path / "heights.tif"
    write_geotiff(heights, build_town("old", 1, 200.0), np.full((500, 500, 3), 9, np.uint8))
    wanted = {"pairs": 9, "kept_share": 0.2, "plan": OrthoPlan()}
    with open_sources([map_file]) as imagery:
        with pytest.raises(BadData, match="touches the imagery"):
            prepare_region(imagery, tmp_path / "a", buildings=outlines, **wanted)
        with pytest.raises(BadImagery, match="does not cover the imagery"):
            prepare_region(imagery, tmp_path / "b", heights=heights, **wanted)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_disk_that_cannot_hold_the_pairs_is_noticed_before_the_work(map_file, tmp_path):
    with (
        open_sources([map_file]) as imagery,
        pytest.raises(CannotWrite, match="Ask for fewer pairs"),
    ):
        prepare_region(imagery, tmp_path, pairs=10**12, kept_share=0.2, plan=OrthoPlan())


def write_town_heights(path, town, east_m=0.0):
    """The town's true surface as a raster, ``east_m`` beside its place."""
    import rasterio
    from rasterio.transform import from_origin

    inner = slice(town.apron_cells, town.cells - town.apron_cells)
    top = np.maximum(town.height_m, town.crown_top_m)[inner, inner].astype(np.float32)
    corner = from_origin(town.site.west_m + east_m, town.site.north_m, CELL_M, CELL_M)
    with rasterio.open(
        path, "w", driver="GTiff", width=top.shape[1], height=top.shape[0], count=1,
        dtype="float32", crs=f"EPSG:{EPSG}", transform=corner,
    ) as raster:  # fmt: skip
        raster.write(top, 1)
    return path


def test_true_heights_fit_the_imagery_and_moved_ones_are_refused(town, map_file, tmp_path):
    """A datum of another country puts heights tens of metres beside the picture."""
    with open_sources([map_file]) as imagery:
        squares = plan_squares(imagery, kept_share=0.0)
        tiles = list(cut_orthophotos(squares))[:1]
        true = write_town_heights(tmp_path / "ndsm.tif", town)
        (known,) = check_first(add_heights(tiles, true), true, None)
        built = known.heights.above_ground_m > 2.2
        assert 0.1 < built.mean() < 0.6
        beside = write_town_heights(tmp_path / "beside.tif", town, 18.0)
        with pytest.raises(BadImagery, match=r"-1[678] m east"):
            list(check_first(add_heights(tiles, beside), beside, None))
