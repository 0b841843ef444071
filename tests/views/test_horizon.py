"""The tilt of a camera out of the straight lines of its picture, on drawings of known cameras."""

import cv2
import numpy as np
import pytest
from tests.views.scenes import draw_street

from crossview.views.horizon import (
    MOST_SIGMA_DEG,
    PITCH_SIGMA_DEG,
    STEEPEST_DEG,
    estimate_tilt,
    find_lines,
)
from crossview.views.lens import find_horizon_px, fit_lens, turn_lens


def estimate(picture, fov_deg):
    return estimate_tilt(find_lines(picture), fov_deg)


@pytest.mark.parametrize("pitch", [-9.0, -3.0, 0.0, 5.0, 10.0])
@pytest.mark.parametrize(("fov", "size"), [(65.0, (640, 480)), (50.0, (640, 480)),
                                           (51.1, (480, 640)), (90.0, (1600, 1200))])  # fmt: skip
def test_the_lines_of_buildings_tell_how_far_a_camera_looks_up(fov, size, pitch):
    tilt = estimate(draw_street(fov, pitch, size=size), fov)
    assert tilt.is_told
    assert tilt.pitch_deg == pytest.approx(pitch, abs=1.0)
    assert tilt.sigma_deg < 2.0


@pytest.mark.parametrize("roll", [-3.0, 3.0])
def test_a_camera_that_leans_does_not_spoil_it(roll):
    tilt = estimate(draw_street(65.0, 6.0, roll), 65.0)
    assert tilt.pitch_deg == pytest.approx(6.0, abs=1.0)
    assert tilt.roll_deg == pytest.approx(roll, abs=1.0)


@pytest.mark.parametrize("true", [50.0, 70.0, 100.0])
def test_the_lens_that_took_a_tilted_picture_agrees_best_with_its_lines(true):
    lines = find_lines(draw_street(true, 8.0))
    evidence = {fov: estimate_tilt(lines, fov).evidence for fov in (50.0, 70.0, 100.0)}
    assert max(evidence, key=evidence.get) == true


def test_a_picture_of_any_size_tells_about_the_same():
    small = draw_street(65.0, 7.0)
    large = cv2.resize(small, None, fx=4.0, fy=4.0, interpolation=cv2.INTER_CUBIC)
    assert estimate(large, 65.0).pitch_deg == pytest.approx(
        estimate(small, 65.0).pitch_deg, abs=0.5
    )


def test_a_frame_around_the_picture_is_no_line_of_the_scene():
    street = draw_street(65.0, 9.0)
    framed = cv2.copyMakeBorder(street[4:-4, 4:-4], 4, 4, 4, 4, cv2.BORDER_CONSTANT)
    assert estimate(framed, 65.0).pitch_deg == pytest.approx(9.0, abs=1.0)
    ends = find_lines(framed).ends
    flat = np.abs(ends[:, 0] - ends[:, 2]) < 1e-3
    assert not (flat & (np.abs(ends[:, 0]) > 0.98)).any()


@pytest.mark.parametrize("picture", [
    np.full((480, 640, 3), 120, np.uint8),
    np.zeros((16, 16, 3), np.uint8),
    np.random.default_rng(0).integers(0, 256, (17, 4000, 3), dtype=np.uint8),
    np.random.default_rng(0).integers(0, 256, (4000, 17, 3), dtype=np.uint8),
], ids=["one colour", "tiny", "a strip", "a slit"])  # fmt: skip
def test_a_picture_without_lines_tells_nothing(picture):
    tilt = estimate(picture, 65.0)
    assert not tilt.is_told
    assert (tilt.pitch_deg, tilt.sigma_deg) == (0.0, PITCH_SIGMA_DEG)


def test_noise_takes_no_longer_and_gives_no_steep_tilt():
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), dtype=np.uint8)
    lines = find_lines(noise)
    assert len(lines.ends) <= 300
    tilt = estimate_tilt(lines, 65.0)
    assert tilt.sigma_deg <= MOST_SIGMA_DEG or tilt.pitch_deg == 0.0
    assert abs(tilt.pitch_deg) < STEEPEST_DEG


def test_a_band_of_equal_angles_has_no_vanishing_points():
    assert not estimate(draw_street(65.0, 8.0), 180.0).is_told


def test_the_row_of_the_horizon_is_what_the_lens_is_fitted_from():
    row = find_horizon_px((640, 480), 65.0, 7.0)
    assert fit_lens("perspective", (640, 480), 65.0, row).pitch_deg == pytest.approx(7.0)


def test_a_camera_held_upright_sees_less_across():
    assert turn_lens(65.0, 3.0 / 4.0) == pytest.approx(51.08, abs=0.01)
    assert turn_lens(65.0, 1.0) == pytest.approx(65.0)
