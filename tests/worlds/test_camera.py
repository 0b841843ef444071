"""Both views show one geometry: azimuths, heights and places agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossview.worlds.camera import (
    EYE_M,
    Shot,
    cast_rays,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    render_photo,
    sample_fan,
    start_drive,
)
from crossview.worlds.town import CELL_M, build_town


@pytest.fixture(scope="module")
def town():
    return build_town("blocks", 20_003, 240.0)


@pytest.fixture(scope="module")
def drive(town):
    return start_drive(town)


@pytest.fixture(scope="module")
def spot(town):
    return tuple(float(x) for x in draw_camera_places(town, 1, "test")[0])


def test_turning_the_camera_rolls_the_panorama(drive, spot):
    north = render_panorama(drive, Shot(*spot, 0.0, width_px=256, height_px=64))
    east = render_panorama(drive, Shot(*spot, 90.0, width_px=256, height_px=64))
    rolled = np.roll(north, -64, axis=1).astype(float)
    same = np.abs(rolled - east).mean(axis=2) < 25  # each shot has its own noise and leaves
    assert same.mean() > 0.9


def test_the_skyline_is_the_highest_angle_of_any_cell_along_the_ray(town, drive, spot):
    azimuth = np.radians(np.arange(0, 360, 45)).astype(np.float32)
    tangents = np.linspace(-1.0, 9.0, 2000).astype(np.float32)
    hits = cast_rays(town, sample_fan(town, drive.solid_m, spot, azimuth), azimuth, tangents)
    for n, turn in enumerate(azimuth):
        steepest = -9.0
        for far in np.arange(1.0, 230.0, 0.1):
            column = int((spot[0] + far * math.sin(turn)) / CELL_M)
            row = int((spot[1] - far * math.cos(turn)) / CELL_M)
            if 0 <= row < town.cells and 0 <= column < town.cells:
                steepest = max(steepest, (drive.solid_m[row, column] - EYE_M) / far)
        seen = tangents[hits.sample[n] < 220].max()
        assert seen == pytest.approx(steepest, abs=0.12), math.degrees(turn)


def test_a_photo_shows_the_middle_of_the_panorama(drive, spot):
    wide = render_panorama(drive, Shot(*spot, 30.0, width_px=720, height_px=360))
    near = render_photo(drive, Shot(*spot, 30.0, 60.0, 0.0, 240, 180))
    middle = wide[165:195, 345:375].mean(axis=(0, 1))
    assert np.abs(middle - near[75:105, 105:135].mean(axis=(0, 1))).max() < 30


def test_looking_up_lowers_the_horizon(drive, spot):
    level = render_photo(drive, Shot(*spot, 0.0, 60.0, 0.0, 160, 120)).astype(float)
    up = render_photo(drive, Shot(*spot, 0.0, 60.0, 8.0, 160, 120)).astype(float)
    focal_px = 80 / math.tan(math.radians(30))
    lower = round(focal_px * math.tan(math.radians(8.0)))
    shifted = np.abs(up[lower + 20 : -10] - level[20 : -10 - lower]).mean()
    assert shifted < 0.7 * np.abs(up[20:-10] - level[20:-10]).mean()


def test_the_two_views_do_not_share_their_colours(town, drive, spot):
    above = render_orthophoto(town).reshape(-1, 3).mean(axis=0)
    below = render_panorama(drive, Shot(*spot, 0.0, width_px=256, height_px=128))[70:].reshape(
        -1, 3
    )
    assert np.abs(above - below.mean(axis=0)).max() > 4
