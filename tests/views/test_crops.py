"""A limited field of view keeps the same pixels everywhere; aerial pictures turn as SinGeo's."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared

from crossview.errors import InvalidValue
from crossview.views.crops import (
    choose_quarter_turns,
    compute_bin_coverage,
    compute_visible_mask,
    crop_view,
    find_authors_sector,
    find_sector,
    turn_circle,
    turn_image,
    turn_quarters,
)
from crossview.views.spec import ViewSpec, count_columns
from crossview.views.symmetry import roll_ground

NARROW = ViewSpec(side="ground", height_px=2, width_px=768, mean=(0.0, 0.0, 0.0))
PADDED = replace(NARROW, representation="padded")


def columns(width=768, height=2):
    """A panorama whose column c holds c + 1, in two channels; unseen pixels hold 0."""
    numbers = np.arange(1, width + 1)
    pixels = np.stack([numbers // 256, numbers % 256, np.zeros(width)], axis=1)
    return np.repeat(pixels[None].astype(np.uint8), height, axis=0)


def read(pixels):
    """The numbers of the columns of a picture from :func:`columns`; -1 where nothing is."""
    return pixels[0, :, 0].astype(int) * 256 + pixels[0, :, 1] - 1


def slow(width, theta, heading, padded):
    """The rule in words: of all positions of the columns, the nearest; the left of two."""
    kept = max(1, math.floor(round(theta / 360 * width, 6)))
    wanted = (heading + 180) / 360 * width  # where the middle should be, in columns
    first = min(range(-width, 2 * width), key=lambda c: (round(abs(c + kept / 2 - wanted), 6), c))
    found = [(first + n) % width for n in range(kept)]
    left = (width - kept) // 2
    return [-1] * left + found + [-1] * (width - kept - left) if padded else found


@pytest.mark.parametrize("width", [768, 192, 671, 61])
@pytest.mark.parametrize("fov", [360.0, 180.0, 90.0, 70.0, 65.0, 0.1])
@pytest.mark.parametrize("heading", [0.0, 33.3, -120.0, 179.9, 359.0])
@pytest.mark.parametrize("padded", [False, True])
def test_whole_columns_nearest_to_the_heading_are_kept(width, fov, heading, padded):
    spec = replace(PADDED if padded else NARROW, width_px=width)
    seen = crop_view(columns(width), spec, fov, heading)
    assert read(seen.pixels).tolist() == slow(width, fov, heading, padded)
    assert seen.mask[0].tolist() == [n >= 0 for n in read(seen.pixels)]
    assert seen.mask.shape == seen.pixels.shape[:2]


@given(width=st.integers(2, 900), fov=st.floats(0.1, 360.0), heading=st.floats(-360.0, 720.0))
def test_the_heading_of_a_crop_is_the_azimuth_of_its_middle(width, fov, heading):
    kept = find_sector(width, fov, heading)
    first = int(kept.columns[0])
    assert (first + len(kept.columns) / 2 - (kept.heading_deg + 180) / 360 * width) % width in (
        pytest.approx(0, abs=1e-6),
        pytest.approx(width, abs=1e-6),
    )
    off = (kept.heading_deg - heading + 180) % 360 - 180
    assert abs(off) <= 180.0 / width + 1e-6
    assert -180 <= kept.heading_deg < 180


@pytest.mark.parametrize(("theta", "width"), [(360, 768), (180, 384), (90, 192), (70, 149)])
def test_the_widths_of_the_paper(theta, width):
    assert NARROW.columns(theta) == crop_view(columns(), NARROW, theta).pixels.shape[1] == width


def test_a_field_of_view_of_so_many_columns_fills_so_many_columns():
    """360 n / W degrees may come out a little below n columns."""
    assert all(count_columns(w, 360.0 * n / w) == n for w in range(1, 400) for n in range(1, w + 1))
    assert count_columns(768, 65.0) == 138  # 138.67: what is not whole is not shown


@pytest.mark.parametrize("theta", [0, -10, 361, float("nan")])
def test_a_field_of_view_outside_a_circle_is_refused(theta):
    for call in (
        lambda: crop_view(columns(), NARROW, theta),
        lambda: find_authors_sector(768, theta, 0),
    ):
        with pytest.raises(InvalidValue, match="field of view"):
            call()


def test_a_panorama_of_another_width_is_refused():
    with pytest.raises(InvalidValue, match="700 columns"):
        crop_view(columns(700), PADDED, 90.0)


def columns_of(segments, width):
    """[output columns] of source columns, -1 where nothing is."""
    out = np.full(width, -1)
    for first, last, source, _ in segments:
        out[first : last + 1] = np.arange(source, source + last - first + 1)
    return out


def schedule():
    return json.loads(shared("parity", "singeo_schedule.json").read_text(encoding="utf-8"))


def test_kept_columns_are_those_of_the_authors_code():
    cases = [case for case in schedule()["kept_columns"]["cases"] if case["theta"] > 0]
    assert len(cases) == 64
    for case in cases:
        kept = find_authors_sector(768, case["theta"], case["angle"])
        assert kept.columns.tolist() == columns_of(case["segments"], case["width"]).tolist()
        again = crop_view(columns(), NARROW, case["theta"], kept.heading_deg)
        assert read(again.pixels).tolist() == kept.columns.tolist()
        assert again.heading_deg == pytest.approx(kept.heading_deg)


def test_padded_columns_are_those_of_the_authors_code():
    official = schedule()["kept_columns_padded"]
    drawn = [case | {"theta": case["drawn_fov"]} for case in official["code_361_draws_theta"]]
    for case in [*official["cases"], *drawn]:
        if case["theta"] <= 0:
            continue
        first_px = int(case["second_angle"] / 360 * 768)
        heading = find_authors_sector(768, case["theta"], case["angle"]).heading_deg
        ours = crop_view(columns(), PADDED, case["theta"], heading, first_px=first_px)
        assert read(ours.pixels).tolist() == columns_of(case["segments"], 768).tolist()


def test_a_photo_is_never_turned_and_loses_only_what_it_has_more():
    photo = columns()[:, 100 : 100 + 192]  # 90 degrees
    same = crop_view(photo, NARROW, 180.0, 33.0, has_deg=90.0)
    assert (same.fov_deg, same.heading_deg) == (90.0, 0.0)
    assert np.array_equal(same.pixels, photo)
    less = crop_view(photo, NARROW, 70.0, 33.0, has_deg=90.0)
    assert read(less.pixels).tolist() == list(range(100 + 21, 100 + 21 + 149))
    unknown = crop_view(photo, NARROW, 70.0, has_deg=math.nan)
    assert (unknown.pixels.shape[1], unknown.fov_deg) == (192, 70.0)


def test_a_padded_photo_keeps_the_columns_that_a_panorama_would():
    panorama = crop_view(columns(), PADDED, 90.0)
    less = crop_view(panorama.pixels, PADDED, 70.0, has_deg=90.0)
    assert np.array_equal(less.pixels, crop_view(columns(), PADDED, 70.0).pixels)


def test_of_a_whole_file_the_share_of_its_own_degrees_is_kept():
    """It fills its canvas however many degrees it shows."""
    spec = replace(PADDED, whole=True)
    less = crop_view(columns(), spec, 45.0, has_deg=90.0)
    assert read(less.pixels).tolist() == [-1] * 192 + list(range(192, 576)) + [-1] * 192


def test_only_a_perspective_photo_loses_rows():
    spec = replace(PADDED, height_px=96, width_px=384)
    canvas = np.full((96, 384, 3), 200, np.uint8)
    band = crop_view(canvas, spec, 90.0)
    photo = crop_view(canvas, spec, 90.0, kind="perspective", aspect=4 / 3)
    assert band.mask.all(axis=0).sum() == band.mask.any(axis=0).sum() == 96
    assert np.array_equal(photo.mask, compute_visible_mask(spec, 90.0, 4 / 3))
    assert 0 < photo.mask.sum() < band.mask.sum()
    bottom, top = spec.required_elevation_deg
    seen_deg = photo.mask[:, 192].sum() * (top - bottom) / 96
    assert seen_deg == pytest.approx(2 * math.degrees(math.atan(3 / 4)), abs=1.0)  # 4:3, 90 degrees
    assert (photo.pixels[photo.mask] == 200).all()
    assert not photo.pixels[~photo.mask].any()


def test_a_perspective_photo_of_no_known_shape_is_refused():
    with pytest.raises(InvalidValue, match="aspect"):
        crop_view(columns(), PADDED, 90.0, kind="perspective")


def test_a_perspective_photo_looks_where_it_is_turned():
    spec = replace(PADDED, width_px=360, height_px=90)
    photo = crop_view(columns(360, 90), spec, 60.0, 90.0, kind="perspective", aspect=1.0)
    assert read(photo.pixels[45:])[[150, 180, 209]].tolist() == [240, 270, 299]
    assert photo.heading_deg == 90.0


@settings(max_examples=60)
@given(
    fov=st.floats(1.0, 360.0), middle=st.floats(-180.0, 180.0), bins=st.sampled_from([1, 4, 8, 30])
)
def test_seen_bins_of_a_picture_beside_the_middle_are_its_share_of_every_bin(fov, middle, bins):
    """Counted over directions of a hundredth of a degree, all around."""
    directions = np.arange(36_000) / 100.0 + 0.005 - 180.0
    off = np.abs((directions - middle + 180.0) % 360.0 - 180.0)
    slow = (off <= fov / 2.0).reshape(bins, -1).mean(axis=1)
    width = 360.0 / bins
    assert compute_bin_coverage(fov, bins, middle) == pytest.approx(slow, abs=0.03 / width)


def test_seen_bins_of_many_pictures_are_those_of_each():
    fovs = np.array([360.0, 90.0, 61.0])
    assert np.array_equal(
        compute_bin_coverage(fovs, 8), np.stack([compute_bin_coverage(f, 8) for f in fovs])
    )


NAMES = {0: "none", -1: "clockwise", 1: "counter_clockwise"}


def marked(side=41):
    """Black, a white dot north of the centre, near the rim."""
    image = np.zeros((side, side, 3), np.uint8)
    image[4:7, side // 2 - 1 : side // 2 + 2] = 255
    return image


def brightest(image):
    rows, columns = np.nonzero(image[..., 0] > 100)
    return rows.mean() - 20, columns.mean() - 20


def test_quarter_turns_are_those_of_the_authors_code():
    for case in json.loads(shared("parity", "singeo_schedule.json").read_text())[
        "satellite_quarter_turn"
    ]:
        assert NAMES[choose_quarter_turns(case["keep"], case["u"])] == case["turn"]


def test_with_half_turns_the_three_turns_share_the_rest_equally():
    draws = (np.arange(10_000) + 0.5) / 10_000
    turns = [choose_quarter_turns(0.25, draw, half_turns=True) for draw in draws]
    assert [turns.count(k) for k in (0, -1, 2, 1)] == [2500, 2500, 2500, 2500]
    assert choose_quarter_turns(1.0, 0.999) == 0


def test_a_counter_clockwise_quarter_of_the_picture_shifts_the_panorama_left_by_a_quarter():
    assert brightest(turn_quarters(marked(), 1)) == pytest.approx((0, -15))  # north went west
    north_in_the_middle = np.zeros((1, 768, 3), np.uint8)
    north_in_the_middle[:, 384] = 255
    assert np.flatnonzero(roll_ground(north_in_the_middle, 90.0)[0, :, 0]) == [384 - 192]


@pytest.mark.parametrize("angle", [0, 30, 90, 137, 270])
def test_any_angle_turns_about_the_centre(angle):
    """The authors' T_s2 moves the centre; ours leaves it where it is."""
    down, right = brightest(turn_image(marked(), angle))
    assert (down, right) == pytest.approx(
        (-15 * np.cos(np.radians(angle)), -15 * np.sin(np.radians(angle))), abs=0.3
    )


def test_quarters_as_angles_are_quarters():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for quarters in range(4):
        assert np.array_equal(turn_image(image, 90 * quarters), turn_quarters(image, quarters))


def test_a_circle_keeps_its_inside_and_nothing_else():
    white = np.full((40, 40, 3), 255, np.uint8)
    kept = turn_circle(white, 0.0, 40)[..., 0] > 0
    assert kept.mean() == pytest.approx(np.pi / 4, abs=0.02)
    assert not kept[0, 0]
    assert turn_circle(white, 0.0, 20)[..., 0].astype(bool).sum() < kept.sum()
