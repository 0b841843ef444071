"""A photo lands in the columns and rows of its directions; training cuts photos likewise."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.views.scenes import panorama, photo, strip_angles, strip_of_sphere

from crossview.errors import InvalidValue
from crossview.views.crops import (
    compute_visible_mask,
    count_spare_px,
    crop_as_photo,
    crop_view,
    cut_window,
)
from crossview.views.ground import make_ground_view
from crossview.views.spec import ViewSpec

PADDED = ViewSpec(side="ground", height_px=64, width_px=256, representation="padded")
NARROW = ViewSpec(side="ground", height_px=64, width_px=256)
SQUARE = replace(PADDED, height_px=128, elevation_deg=(-90.0, 90.0))  # as files are


@pytest.mark.parametrize("width", [256, 600, 1024, 2048])
def test_a_panorama_shows_the_sphere_at_the_angles_of_rows_and_columns(width):
    strip = make_ground_view(panorama(width), "panorama", PADDED, fov_deg=360.0)
    assert np.abs(strip - strip_of_sphere(PADDED)).max() < 2.0


@pytest.mark.parametrize(
    ("fov", "size", "pitch"),
    [(90, (640, 480), 0), (50, (640, 480), 8), (65, (480, 640), -10), (120, (1500, 800), 3)],
)
def test_a_photo_shows_what_the_panorama_shows_in_the_same_columns(fov, size, pitch):
    pixels, horizon = photo(*size, fov, pitch)
    strip = make_ground_view(pixels, "perspective", PADDED, fov_deg=fov, horizon_px=horizon)
    mask = compute_visible_mask(PADDED, fov, size[0] / size[1], pitch)
    whole = make_ground_view(panorama(1024), "panorama", PADDED, fov_deg=360.0)
    assert np.abs(strip[mask].astype(int) - whole[mask]).max() <= 3
    assert (strip[~mask] == PADDED.mean_colour).all()


def test_a_photo_is_sampled_like_the_slow_loop_over_rays():
    pixels, _ = photo(80, 60, 70.0)
    spec = ViewSpec(side="ground", height_px=16, width_px=64, representation="padded")
    fast = make_ground_view(pixels, "perspective", spec, fov_deg=70.0)
    focal_px, count = 40.0 / math.tan(math.radians(35.0)), 0
    for (row, elevation), (column, azimuth) in rays(spec):
        x = 40.0 + focal_px * math.tan(math.radians(azimuth))
        rise = math.tan(math.radians(elevation)) / math.cos(math.radians(azimuth))
        y = 30.0 - focal_px * rise
        if abs(azimuth) < 90.0 and 1.0 < x < 79.0 and 1.0 < y < 59.0:
            count += 1
            assert np.abs(fast[row, column] - pixels[int(y), int(x)].astype(int)).max() < 12
    assert count > 50


def rays(spec):
    azimuths, elevations = strip_angles(spec)
    return [(r, c) for r in enumerate(elevations) for c in enumerate(azimuths)]


def test_the_mask_is_that_of_a_slow_loop_over_rays():
    spec = ViewSpec(side="ground", height_px=16, width_px=64, representation="padded")
    fast, pitch = compute_visible_mask(spec, 80.0, 1.5, 12.0), math.radians(12.0)
    half = math.tan(math.radians(40.0))
    for (row, elevation), (column, azimuth) in rays(spec):
        e, a = math.radians(elevation), math.radians(azimuth)
        right, forward, up = math.cos(e) * math.sin(a), math.cos(e) * math.cos(a), math.sin(e)
        depth = forward * math.cos(pitch) + up * math.sin(pitch)
        rise = up * math.cos(pitch) - forward * math.sin(pitch)
        inside = depth > 0 and abs(right) <= half * depth and abs(rise) <= half / 1.5 * depth
        assert fast[row, column] == inside


@given(fov=st.floats(5.0, 170.0), aspect=st.floats(0.4, 4.0))
def test_a_level_photo_is_seen_symmetrically_about_its_middle(fov, aspect):
    mask = compute_visible_mask(PADDED, fov, aspect)
    assert (mask == mask[:, ::-1]).all()
    assert (mask == mask[::-1]).all()


@given(fov=st.floats(170.1, 360.0), aspect=st.floats(0.4, 4.0))
def test_a_band_is_seen_in_the_whole_columns_of_its_field_of_view(fov, aspect):
    mask = compute_visible_mask(PADDED, fov, aspect)
    columns = np.flatnonzero(mask.any(axis=0))
    first = (256 - PADDED.columns(fov)) // 2
    assert columns.tolist() == list(range(first, first + PADDED.columns(fov)))
    assert (mask == mask[::-1]).all()


@pytest.mark.parametrize("columns", [64, 71, 128, 199])
def test_part_of_a_panorama_lies_in_the_columns_that_are_kept_of_a_whole_one(columns):
    """Pixel by pixel, where its pixels are those of the view."""
    whole = make_ground_view(panorama(256), "panorama", SQUARE, fov_deg=360.0)
    fov = 360.0 * columns / 256
    for spec in (SQUARE, replace(SQUARE, representation="narrow")):
        kept = crop_view(whole, spec, fov)
        part = crop_view(whole, replace(spec, representation="narrow"), fov).pixels
        strip = make_ground_view(part, "panorama", spec, fov_deg=fov)
        assert np.abs(strip.astype(int) - kept.pixels).max() <= 1


def test_a_wider_picture_sees_at_least_as_many_columns():
    seen = [compute_visible_mask(PADDED, fov, 1.5).any(axis=0).sum() for fov in range(10, 361, 10)]
    assert seen == sorted(seen)
    assert seen[-1] == 256


def test_a_panorama_sees_everything():
    assert compute_visible_mask(PADDED, 360.0, 2.0).all()


def test_narrow_strips_are_the_middle_columns_of_padded_ones():
    pixels, _ = photo(320, 240, 90.0)
    narrow = make_ground_view(pixels, "perspective", NARROW, fov_deg=90.0)
    padded = make_ground_view(pixels, "perspective", PADDED, fov_deg=90.0)
    assert narrow.shape == (64, 64, 3)
    assert (narrow == padded[:, 96:160]).all()


def test_turning_the_camera_rolls_the_strip():
    strips = [
        make_ground_view(panorama(512, m), "panorama", PADDED, fov_deg=360.0) for m in (0.0, 45.0)
    ]
    assert np.abs(np.roll(strips[0], -32, axis=1).astype(int) - strips[1]).max() <= 1


def test_a_panorama_continues_across_its_seam():
    spec = ViewSpec(side="ground", height_px=32, width_px=200, representation="padded")
    strip = make_ground_view(panorama(256), "panorama", spec, fov_deg=360.0)
    assert np.abs(strip[:, [0, -1]] - strip_of_sphere(spec)[:, [0, -1]]).max() < 3.0


def test_detail_too_fine_for_the_strip_becomes_its_mean():
    checks = np.indices((512, 1024)).sum(0) % 2 * np.uint8(200)
    pixels = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    for kind, fov in (("panorama", 360.0), ("perspective", 80.0)):
        strip = make_ground_view(pixels, kind, PADDED, fov_deg=fov)
        seen = strip[28:36, 120:136].astype(int)
        assert np.abs(seen - 100).max() < 15


def test_a_lower_horizon_means_that_the_camera_pointed_up():
    pixels, _ = photo(320, 240, 60.0)
    rows = [
        np.flatnonzero((view != PADDED.mean_colour).any(axis=(1, 2))).mean()
        for view in (
            make_ground_view(pixels, "perspective", PADDED, fov_deg=60.0, horizon_px=row)
            for row in (120.0, 200.0)
        )
    ]  # fmt: skip
    assert rows[1] < rows[0] - 5


def test_part_of_a_panorama_sits_where_its_horizon_says():
    whole = panorama(1024)
    part = whole[200:400, 256:768]  # 180 degrees, horizon at row 56 of 200
    strip = make_ground_view(part, "panorama", PADDED, fov_deg=180.0, horizon_px=56.0)
    seen = (strip != PADDED.mean_colour).any(axis=2)
    assert np.abs(strip - strip_of_sphere(PADDED))[seen].max() < 3.0
    assert seen[:, 64:192].mean() > 0.6
    assert not seen[:, :64].any()


def test_a_flat_photo_wider_than_170_degrees_is_taken_for_a_band():
    band = panorama(1024)[192:320, 192:832]  # 225 x 45 degrees
    strip = make_ground_view(band, "perspective", PADDED, fov_deg=225.0)
    mask = compute_visible_mask(PADDED, 225.0, 640 / 128)
    assert np.abs(strip - strip_of_sphere(PADDED))[mask].max() < 3.0


@pytest.mark.parametrize("fov", [0.0, -5.0, 360.5, 400.0, math.nan])
def test_impossible_fields_of_view_are_refused(fov):
    with pytest.raises(InvalidValue, match="field of view"):
        make_ground_view(panorama(64), "perspective", PADDED, fov_deg=fov)


def test_an_absurd_horizon_is_refused():
    with pytest.raises(InvalidValue, match="too steep"):
        make_ground_view(panorama(64), "perspective", PADDED, fov_deg=60.0, horizon_px=1e5)


def test_the_picture_that_was_given_stays_as_it_was():
    pixels = panorama(256)
    before = pixels.copy()
    make_ground_view(pixels, "panorama", PADDED, fov_deg=360.0)[:] = 0
    assert (pixels == before).all()


@pytest.mark.parametrize("pitch", [-84.9, 84.9])
def test_cameras_may_be_tilted_by_85_degrees(pitch):
    assert compute_visible_mask(SQUARE, 60.0, 1.0, pitch).any()
    with pytest.raises(InvalidValue, match="85 degrees"):
        compute_visible_mask(SQUARE, 60.0, 1.0, pitch * 85.1 / 84.9)


SPEC = ViewSpec(
    side="ground",
    height_px=40,
    width_px=72,
    elevation_deg=(-40.0, 40.0),
    representation="padded",
)


def rows_and_columns():
    rows, columns = np.indices((40, 72))
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


def test_a_photo_keeps_the_middle_columns_and_leaves_the_rest_in_the_mean_colour():
    part = crop_as_photo(rows_and_columns(), SPEC, 90.0, 4 / 3)
    seen = (part != np.array(SPEC.mean_colour)).any(axis=2)
    columns = np.flatnonzero(seen.any(axis=0))
    assert (columns.min(), columns.max()) == (27, 44)
    assert np.array_equal(part[seen], rows_and_columns()[seen])


def test_a_photo_of_a_narrow_view_is_the_middle_columns_of_a_padded_one():
    padded = crop_as_photo(rows_and_columns(), SPEC, 90.0, 4 / 3)
    narrow = crop_as_photo(rows_and_columns(), replace(SPEC, representation="narrow"), 90.0, 4 / 3)
    assert np.array_equal(narrow, padded[:, 27:45])


def test_a_tilted_camera_of_known_horizon_sees_higher_rows_at_their_place():
    level = crop_as_photo(rows_and_columns(), SPEC, 60.0, 4 / 3)
    up = crop_as_photo(rows_and_columns(), SPEC, 60.0, 4 / 3, pitch_deg=8.0)
    middle = [np.flatnonzero((p[:, 36] != SPEC.mean_colour).any(axis=1)) for p in (level, up)]
    assert middle[1].min() < middle[0].min()
    assert (up[middle[1], 36, 0] == middle[1]).all()


def test_of_unknown_horizon_its_rows_lie_too_low():
    up = crop_as_photo(rows_and_columns(), SPEC, 60.0, 1.0, pitch_deg=8.0, horizon_known=False)
    assert up[20, 36, 0] == 20 - 4  # 8 degrees are 4 rows of 2


def test_a_window_moves_by_whole_pixels_within_its_room():
    aerial = rows_and_columns()
    room = count_spare_px(
        aerial, metres_per_px=0.5, footprint_m=14.0
    )  # 28 px and one more on each side
    assert room.tolist() == [10, 42]
    window = cut_window(aerial, room, np.array([2.0, -7.0]))
    assert window.shape[:2] == (30, 30)
    assert window[0, 0, :2].tolist() == [5 + 2, 21 - 7]
