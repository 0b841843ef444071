"""The base map lies where the imagery lies; heat has one byte per score."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine
from tests.index.regions import indexed, region
from tests.outputs.fakes import ORIGIN, answer

from crossview.geo.mercator import enclose_points
from crossview.geo.points import MOST_REGIONS, move_point, split_regions
from crossview.outputs import map_layers
from crossview.outputs.map_layers import (
    build_heat_grid,
    count_affordable_cells,
    describe_scores,
    draw_base_map,
)

MB = 1_000_000


def decoded(overlay):
    return np.asarray(Image.open(BytesIO(overlay.webp)).convert("RGBA"))


def test_the_base_map_is_the_imagery_at_full_resolution_where_that_fits(index):
    base = draw_base_map(index, 10 * MB)
    assert base.notes == []
    assert base.overlays[0].metres_per_px == pytest.approx(0.5, rel=0.01)
    assert decoded(base.overlays[0])[..., 3].mean() > 240


def test_down_sampled_imagery_is_noted_with_its_figures(index, monkeypatch):
    monkeypatch.setattr(map_layers, "MOST_PIXELS", 100 * 100)
    base = draw_base_map(index, 10 * MB)
    assert re.match(r"Imagery is shown down-sampled: 2\.\d m .* instead of 0\.5\.", *base.notes)


def test_a_small_budget_gives_fewer_pixels(index):
    base = draw_base_map(index, 30_000)
    assert sum(len(o.webp) for o in base.overlays) * 4 / 3 <= 30_000
    assert base.overlays[0].metres_per_px > 0.5


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"II*")])
def test_without_the_imagery_the_map_is_drawn_from_thumbnails(tmp_path, damage):
    index = indexed(tmp_path, stride_m=20.0)
    whole = decoded(draw_base_map(index, 10 * MB).overlays[0])
    damage(tmp_path / "aerial.tif")
    base = draw_base_map(index, 10 * MB)
    assert "could not be read" in base.notes[0]
    alike = Image.fromarray(decoded(base.overlays[0])).resize(whole.shape[1::-1])
    inner = (slice(40, -40), slice(40, -40), slice(0, 3))
    apart = np.abs(np.asarray(alike)[inner].astype(int) - whole[inner]).mean()
    assert apart < 25  # unrelated lumps differ by 85


def test_regions_far_apart_are_drawn_one_by_one(tmp_path):
    near = region(tmp_path, "a.tif")
    far = region(
        tmp_path, "b.tif", seed=1, transform=Affine(0.5, 0, 491_000.0, 0, -0.5, 5_820_000.0)
    )
    index = indexed(tmp_path, paths=[near, far], stride_m=40.0)
    overlays = draw_base_map(index, 10 * MB).overlays
    assert len(overlays) == 2
    assert all(max(overlay.extent.size_m()) < 400 for overlay in overlays)


def test_scattered_points_make_regions_but_never_too_many():
    lat = np.arange(500) * 0.05
    assert len(split_regions(lat[:20], np.zeros(20), 100.0)) == 20
    found = split_regions(lat, np.zeros(500), 100.0)
    assert len(found) <= MOST_REGIONS
    assert sorted(np.concatenate(found).tolist()) == list(range(500))


def test_an_extent_is_measured_on_the_ground_and_maps_both_ways():
    box = enclose_points(np.array([60.0]), np.array([25.0]), reach_m=100.0)
    assert box.size_m() == pytest.approx((200.0, 200.0), rel=0.001)
    column, row = np.array([0.0, 33.0, 100.0]), np.array([0.0, 71.0, 50.0])
    back = box.pixel(*box.places(column, row, (100, 50)), (100, 50))
    np.testing.assert_allclose(back, np.stack([column, row], axis=-1), atol=1e-6)


def grid(rows, columns, stride_m=20.0):
    points = [
        move_point(ORIGIN, east_m=c * stride_m, north_m=r * stride_m)
        for r in range(rows)
        for c in range(columns)
    ]
    return np.array([p.lat for p in points]), np.array([p.lon for p in points])


def codes_of(scores, given):
    record = describe_scores(answer(scores=np.asarray(scores, np.float32)), given)
    return np.frombuffer(base64.b64decode(record["codes"]), np.uint8), record


def test_few_windows_are_cells_of_their_own():
    lat, lon = grid(5, 4)
    cells = build_heat_grid(lat, lon, 20.0, limit=20)
    np.testing.assert_allclose(cells.lat, lat)
    assert not cells.merged
    assert cells.spacing_m == 20.0


@pytest.mark.parametrize("limit", [1, 7, 300])
def test_many_windows_share_cells_and_none_is_lost(limit):
    lat, lon = grid(30, 40)
    cells = build_heat_grid(lat, lon, 20.0, limit=limit)
    assert len(cells.lat) <= limit
    assert sorted(set(cells.of_window)) == list(range(len(cells.lat)))
    for cell in range(len(cells.lat)):
        assert cells.lat[cell] == pytest.approx(lat[cells.of_window == cell].mean())


def test_a_cell_has_the_best_score_of_its_windows():
    lat, lon = grid(30, 40)
    cells = build_heat_grid(lat, lon, 20.0, limit=100)
    scores = np.random.default_rng(0).normal(size=1200)
    codes, record = codes_of(scores, cells)
    slow = [scores[cells.of_window == cell].max() for cell in range(len(cells.lat))]
    back = record["low"] + (codes - 1.0) / 254.0 * (record["high"] - record["low"])
    np.testing.assert_allclose(back, slow, atol=(max(slow) - min(slow)) / 254)


def test_windows_that_were_not_searched_have_a_code_of_their_own():
    codes, record = codes_of(
        [0.5, -np.inf, 0.1, np.nan], build_heat_grid(*grid(2, 2), 20.0, limit=9)
    )
    assert codes.tolist() == [255, 0, 1, 0]  # as the page draws them
    assert (record["low"], record["high"]) == (0.1, 0.5)


def test_equal_scores_are_fine():
    assert codes_of([0.3] * 4, build_heat_grid(*grid(2, 2), 20.0, limit=9))[0].tolist() == [1] * 4


@pytest.mark.parametrize("scores", [[], [0.1] * 3, [np.nan] * 4])
def test_without_a_score_per_window_there_is_no_heat(scores):
    given = answer(scores=np.array(scores, np.float32))
    assert describe_scores(given, build_heat_grid(*grid(2, 2), 20.0, limit=9)) is None


def test_more_photos_leave_room_for_fewer_cells():
    assert count_affordable_cells([answer()] * 500, 10**7) < count_affordable_cells(
        [answer()], 10**7
    )
    assert count_affordable_cells([answer()] * 500, 0) == 256  # fewer show nothing
