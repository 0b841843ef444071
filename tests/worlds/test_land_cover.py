"""What a picture says of its ground: measured on towns, whose truth is exact."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from benchmarks.land_cover import label_town

from crossview.errors import BadImagery, InvalidValue, TooCoarse
from crossview.worlds.camera import render_orthophoto
from crossview.worlds.land_cover import (
    LandCover,
    check_picture,
    estimate_land_cover,
    find_shadows,
    measure_features,
    read_network,
    shrink_picture,
)
from crossview.worlds.town import build_town


@pytest.fixture(scope="module")
def suburb():
    """A test town that nothing was fitted on: its picture, and the classes that cells may have."""
    town = build_town("suburb", 20_077, 260.0)
    return render_orthophoto(town), label_town(town)


def count_right(land, allowed, cover):
    """Recall and precision of a class."""
    truth, said = allowed == 1 << cover, land.cover == cover
    return (truth & said).sum() / truth.sum(), (truth & said).sum() / said.sum()


def test_roofs_trees_and_grass_of_a_town_are_mostly_found(suburb):
    picture, allowed = suburb
    land = estimate_land_cover(picture)
    # A town's trees are few and its grass is as rough as leaves, so that precision is low there.
    floors = {LandCover.ROOF: (0.6, 0.7), LandCover.TREE: (0.7, 0.2), LandCover.GRASS: (0.45, 0.8)}
    for cover, (recall, precision) in floors.items():
        found = count_right(land, allowed, cover)
        assert found[0] > recall, (cover.name, found)
        assert found[1] > precision, (cover.name, found)


def test_roofs_score_higher_than_streets(suburb):
    picture, allowed = suburb
    score = estimate_land_cover(picture).roof_score
    assert score.min() >= 0.0
    assert score.max() <= 1.0
    roof, street = (allowed == 1 << c for c in (LandCover.ROOF, LandCover.PAVED))
    assert score[roof].mean() > score[street].mean() + 0.3


def test_the_layers_lie_on_the_cells_of_any_shape():
    picture = np.full((121, 300, 3), 120, np.uint8)
    land = estimate_land_cover(picture)
    assert land.cover.shape == land.shadow.shape == land.roof_score.shape == (121, 300)
    assert estimate_land_cover(picture[:3, :3]).cover.shape == (3, 3)


def test_exposure_changes_little(suburb):
    picture, _ = suburb
    dim = np.clip(picture.astype(float) * 0.75, 0, 255).astype(np.uint8)
    same = estimate_land_cover(picture).cover == estimate_land_cover(dim).cover
    assert same.mean() > 0.85


def test_shadows_are_dark_and_not_the_dark_asphalt_of_a_cloudy_day():
    picture = np.full((200, 200, 3), 150, np.uint8)
    picture[:60] = (40, 48, 62)
    picture[80:120] = (95, 93, 92)
    shadow = find_shadows(picture)
    assert shadow[5:55].all()
    assert not shadow[70:].any()


def test_a_small_dark_patch_is_no_water_and_a_lake_is():
    rng = np.random.default_rng(0)
    grass = np.array([96, 124, 62]) + rng.normal(0, 9, (500, 500, 1))
    picture = np.clip(grass, 0, 255).astype(np.uint8)
    cv2.circle(picture, (150, 250), 110, (54, 78, 92), -1)
    cv2.rectangle(picture, (400, 240), (430, 260), (54, 78, 92), -1)
    cover = estimate_land_cover(picture).cover
    assert (cover[190:310, 90:210] == LandCover.WATER).mean() > 0.8
    assert not (cover[235:265, 395:435] == LandCover.WATER).any()


def test_features_fit_the_network(suburb):
    features = measure_features(shrink_picture(suburb[0]))
    assert np.isfinite(features).all()
    weights = read_network()
    assert features.shape[2] == len(weights["mean"]) == weights["weight_1"].shape[0]
    assert weights["weight_3"].shape[1] == len(LandCover)


def test_a_tile_takes_less_than_a_second(suburb):
    picture = np.tile(suburb[0], (2, 2, 1))[:750, :750]
    estimate_land_cover(picture)
    started = time.process_time()
    estimate_land_cover(picture)
    assert time.process_time() - started < 2.0  # half a second on a free core


# -- pictures that cannot be used --


def test_coarse_imagery_is_refused(suburb):
    assert check_picture(suburb[0], 0.6) == ()
    with pytest.raises(TooCoarse, match=r"1\.20 m per pixel"):
        check_picture(suburb[0], 1.2)


def test_grey_imagery_is_used_and_said(suburb):
    grey = cv2.cvtColor(suburb[0], cv2.COLOR_RGB2GRAY)
    (note,) = check_picture(np.repeat(grey[..., None], 3, axis=2), 0.4)
    assert "grey" in note
    with pytest.raises(InvalidValue, match=r"\[h, w, 3\]"):
        check_picture(grey, 0.4)


def test_infrared_shown_as_red_is_refused(suburb):
    """Near infrared, red and green in the places of red, green and blue: leaves turn pink."""
    picture, allowed = suburb
    alive = (allowed == 1 << LandCover.GRASS) | (allowed == 1 << LandCover.TREE)
    infrared = np.where(alive, 210, 90).astype(np.uint8)
    false = np.stack([infrared, picture[..., 0], picture[..., 1]], axis=2)
    with pytest.raises(BadImagery, match="infrared"):
        check_picture(false, 0.4)


@pytest.mark.parametrize("style", ["old", "blocks", "suburb"])
def test_no_town_is_taken_for_infrared(style):
    assert check_picture(render_orthophoto(build_town(style, 20_000, 160.0)), 0.4) == ()
