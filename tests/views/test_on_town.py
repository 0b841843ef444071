"""On a rendered town: columns of both views agree, and pins fall where the cameras are."""

import math

import numpy as np
import pytest
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.geo.points import measure_distance_m
from crossview.imagery.sources import open_sources
from crossview.index.build import build_index
from crossview.index.index_options import IndexOptions
from crossview.localization.locate import locate
from crossview.views.aerial import make_aerial_view
from crossview.views.spec import ViewSpec
from crossview.worlds.camera import (
    EYE_M,
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    start_drive,
)
from crossview.worlds.town import APRON_M, CELL_M, build_town
from crossview.worlds.write import write_geotiff

POLAR = ViewSpec(side="aerial", height_px=64, width_px=256, footprint_m=48.0, polar=True)
DISTANCES_M = 24.0 * (64 - np.arange(64) - 0.5) / 64  # of the polar rows


@pytest.fixture(scope="module")
def town():
    return build_town("suburb", 20_003, 160.0)


@pytest.fixture(scope="module")
def above(town):
    return render_orthophoto(town)


@pytest.fixture(scope="module")
def spots(town, above):
    """Cameras with at least 26 m of map around them."""
    reach = 26.0
    limit = APRON_M + above.shape[0] * CELL_M - reach
    places = draw_camera_places(town, 12, "test")
    return [p for p in places if (p > APRON_M + reach).all() and (p < limit).all()][:4]


@pytest.fixture(scope="module")
def roads(town, spots):
    """Brightness [rows, 256] of the flat ground at the distances of the polar rows, by camera."""
    drive = start_drive(town)
    down = [math.degrees(math.atan(EYE_M / d)) for d in near(DISTANCES_M)]
    rows = [int(angle / 60 * 128) for angle in down]  # the pictures look from 60 degrees down to 0
    shots = [Shot(*spot, 0.0, width_px=512, height_px=128) for spot in spots]
    return [
        render_panorama(drive, shot, (-60.0, 0.0))
        .mean(axis=2)[rows]
        .reshape(len(rows), 256, 2)
        .mean(2)
        for shot in shots
    ]


def road_seen_from_above(above, spot, quarters=0):
    column, row = ((spot - APRON_M) / CELL_M).astype(int)
    half = round(26.0 / CELL_M)
    window = np.rot90(above[row - half : row + half, column - half : column + half], quarters)
    return near(make_aerial_view(window, CELL_M, POLAR).mean(axis=2))


def near(rows):
    return rows[(DISTANCES_M > 3.0) & (DISTANCES_M < 14.0)]


def likeness(ground, aerial):
    """Correlation for every shift of the aerial columns [256]."""
    ground, aerial = (v - v.mean(axis=1, keepdims=True) for v in (ground, aerial))
    scale = math.sqrt((ground**2).sum() * (aerial**2).sum())
    return np.array([(ground * np.roll(aerial, s, axis=1)).sum() for s in range(256)]) / scale


@pytest.mark.parametrize("quarters", [0, 1, 3])
def test_the_polar_view_lines_up_with_the_columns_of_the_panorama(above, spots, roads, quarters):
    total = sum(
        likeness(road, road_seen_from_above(above, spot, quarters))
        for road, spot in zip(roads, spots, strict=True)
    )
    assert len(spots) >= 3
    off = (int(np.argmax(total)) - 64 * quarters + 128) % 256 - 128
    assert abs(off) <= 1  # column of 1.4 degrees
    assert total.max() / len(spots) > 0.5


def test_a_pin_falls_within_a_metre_when_the_right_tile_is_found(town, above, tmp_path):
    write_geotiff(tmp_path / "aerial.tif", town, above)
    model = ToyEmbedder(toy_info(azimuth_bins=8, synthetic=True))
    options = IndexOptions(stride_m=20.0, batch=8, segment_windows=8)
    with open_sources([tmp_path / "aerial.tif"]) as imagery:
        index = build_index(imagery, model, tmp_path / "region.cvx", options=options)
    side = round(40.0 / CELL_M)
    for row, column in ((0, 0), (100, 150), (250, 50)):
        tile = above[row : row + side, column : column + side]
        seen = make_aerial_view(tile, CELL_M, model.info.aerial)
        looks_the_same = np.pad(seen, ((8, 8), (0, 0), (0, 0)))  # the middle half of 180 degrees
        camera = town.site.latlon(
            APRON_M + (column + side / 2) * CELL_M, APRON_M + (row + side / 2) * CELL_M
        )
        first = locate(index, looks_the_same, embedder=model).places[0]
        assert measure_distance_m(first.latlon, camera) < 1.0
        assert first.score == pytest.approx(1.0, abs=0.01)
