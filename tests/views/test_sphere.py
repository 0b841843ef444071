"""Panoramas whose file tells how the camera was tilted are turned upright."""

import math

import numpy as np
import pytest
from PIL import Image
from tests.toy_embedder import toy_info
from tests.views.scenes import as_pixels, colours, panorama

from crossview.localization.hints import Hints
from crossview.localization.queries import choose_readings
from crossview.views.decode import load_photo
from crossview.views.exif import Panorama
from crossview.views.sphere import (
    FINEST_COLUMNS,
    LEAST_TILT_DEG,
    locate_directions,
    shows_two_fisheyes,
    turn_upright,
)

UNSEEN = (124, 116, 104)


def world_of(azimuth_deg, elevation_deg, pitch_deg, roll_deg):
    """Azimuth and elevation in the world of a direction of the camera: the slow, obvious way.

    The camera is first turned about the axis ahead of it (positive: its right side down), then
    about the axis to the right of it (positive: it looks up).
    """
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    right, ahead, up = math.cos(e) * math.sin(a), math.cos(e) * math.cos(a), math.sin(e)
    r, p = math.radians(roll_deg), math.radians(pitch_deg)
    right, up = right * math.cos(r) + up * math.sin(r), up * math.cos(r) - right * math.sin(r)
    ahead, up = ahead * math.cos(p) - up * math.sin(p), up * math.cos(p) + ahead * math.sin(p)
    return math.degrees(math.atan2(right, ahead)), math.degrees(math.asin(max(-1, min(1, up))))


def taken(part: Panorama, width, height):
    """The picture [height, width, 3] that a tilted camera takes of the coloured sphere."""
    pixels = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        rise = part.top + (y + 0.5) / height * (part.bottom - part.top)
        if part.projection == "cylindrical":
            rise = math.degrees(math.atan(rise))
        for x in range(width):
            azimuth = part.middle_deg + ((x + 0.5) / width - 0.5) * part.fov_deg
            world = world_of(azimuth, rise, part.pitch_deg, part.roll_deg)
            pixels[y, x] = as_pixels(colours(*world))
    return pixels


def expected(level):
    """What the level picture should show, and where it is seen at all."""
    height, width = level.pixels.shape[:2]
    per_degree = width / level.fov_deg
    azimuth = level.middle_deg + (np.arange(width) + 0.5 - width / 2) / per_degree
    elevation = (level.horizon_px - np.arange(height) - 0.5) / per_degree
    return colours(azimuth[None, :], elevation[:, None])


def off(level):
    """Mean absolute difference of all pixels that are seen, and their share."""
    seen = (level.pixels != UNSEEN).any(axis=-1)
    return np.abs(level.pixels - expected(level))[seen].mean(), seen.mean()


TILTS = [(20, 0), (0, 20), (-15, 10), (30, -40), (90, 0), (0, 180), (-60, 120)]
PARTS = {
    "whole": Panorama(),
    "band": Panorama(top=40.0, bottom=-40.0),
    "left": Panorama(fov_deg=120.0, middle_deg=-100.0, top=30.0, bottom=-40.0),
    "seam": Panorama(fov_deg=90.0, middle_deg=175.0, top=20.0, bottom=-20.0),
    "cylinder": Panorama(
        projection="cylindrical", fov_deg=150.0, middle_deg=20.0, top=0.5, bottom=-0.8
    ),
}


def tilted(part, pitch, roll):
    return Panorama(**{**vars(part), "pitch_deg": float(pitch), "roll_deg": float(roll)})


@pytest.mark.parametrize(("pitch", "roll"), TILTS[:4])
@pytest.mark.parametrize("name", PARTS)
def test_every_part_of_the_sphere_is_turned_upright(name, pitch, roll):
    part = tilted(PARTS[name], pitch, roll)
    width = round(part.fov_deg / 2)
    height = round(width / 2.5) if name == "cylinder" else round((part.top - part.bottom) / 2)
    level = turn_upright(taken(part, width, height), part)
    wrong, seen = off(level)
    assert wrong < 2.5
    assert seen > 0.4
    assert level.pixels.shape[1] / level.fov_deg == pytest.approx(width / part.fov_deg, rel=0.02)


@pytest.mark.parametrize(("pitch", "roll"), TILTS)
def test_directions_are_found_as_the_slow_loop_finds_them(pitch, roll):
    part = tilted(PARTS["left"], pitch, roll)
    for azimuth in range(-159, -41, 13):
        for elevation in range(-39, 30, 11):
            world = world_of(azimuth, elevation, pitch, roll)
            x, y, seen = locate_directions(part, np.array(world[0]), np.array(world[1]))
            assert seen
            assert float(x) == pytest.approx((azimuth + 160.0) / 120.0, abs=1e-4)
            assert float(y) == pytest.approx((30.0 - elevation) / 70.0, abs=1e-4)


def test_the_front_of_a_camera_that_looks_up_shows_the_sky():
    up = locate_directions(tilted(PARTS["whole"], 20, 0), np.array(0.0), np.array(20.0))
    assert (float(up[0]), float(up[1])) == pytest.approx((0.5, 0.5))


def test_with_a_positive_roll_the_horizon_turns_counter_clockwise():
    right = locate_directions(tilted(PARTS["whole"], 0, 10), np.array(90.0), np.array(0.0))
    left = locate_directions(tilted(PARTS["whole"], 0, 10), np.array(-90.0), np.array(0.0))
    assert float(right[1]) == pytest.approx(0.5 - 10 / 180)
    assert float(left[1]) == pytest.approx(0.5 + 10 / 180)


def test_what_is_upright_is_left_as_it_is():
    pixels = panorama(64)
    assert turn_upright(pixels, Panorama()).pixels is pixels
    assert LEAST_TILT_DEG == 0.1
    assert turn_upright(pixels, tilted(Panorama(), 0.09, 0.0)).pixels is pixels
    assert turn_upright(pixels, tilted(Panorama(), 0.0, -0.1)).pixels is not pixels


def test_what_is_turned_has_at_most_4096_columns_for_360_degrees():
    assert FINEST_COLUMNS == 4096
    part = Panorama(fov_deg=90.0, top=1.0, bottom=-1.0, roll_deg=1.0)
    wide = turn_upright(np.zeros((45, 2048, 3), np.uint8), part)
    assert wide.pixels.shape[1] / wide.fov_deg == pytest.approx(4096 / 360, rel=0.01)
    assert turn_upright(np.zeros((20, 4096, 3), np.uint8), Panorama()).pixels.shape == (20, 4096, 3)


@pytest.mark.parametrize("middle", [0.0, 33.3, -123.456, 179.9])
def test_a_turned_sphere_is_360_degrees_to_the_bit(middle):
    part = Panorama(middle_deg=middle, top=40.0, bottom=-40.0, pitch_deg=33.0)
    assert turn_upright(np.zeros((40, 180, 3), np.uint8), part).fov_deg == 360.0


def test_a_cylinder_becomes_rows_of_equal_angles():
    part = PARTS["cylinder"]
    level = turn_upright(taken(part, 300, 120), part)
    assert off(level) == (pytest.approx(0.0, abs=1.5), 1.0)
    assert (level.fov_deg, level.middle_deg) == (150.0, 20.0)
    top = math.degrees(math.atan(0.5))
    assert level.horizon_px == pytest.approx(top * 2.0, abs=0.5)


def test_a_tilted_panorama_reads_from_its_file_as_if_it_had_been_level(tmp_path):
    part = tilted(Panorama(), 20, -7)
    facts = {
        "PosePitchDegrees": 20, "PoseRollDegrees": -7, "PoseHeadingDegrees": 77,
        "FullPanoWidthPixels": 360, "FullPanoHeightPixels": 180, "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0, "CroppedAreaImageWidthPixels": 360,
        "CroppedAreaImageHeightPixels": 180,
    }  # fmt: skip
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    xmp = f'<rdf:Description GPano:ProjectionType="equirectangular" {attributes}/>'.encode()
    Image.fromarray(taken(part, 360, 180)).save(tmp_path / "p.webp", lossless=True, xmp=xmp)
    photo = load_photo(tmp_path / "p.webp")
    level = np.abs(photo.pixels.astype(int) - panorama(360)).mean()
    assert level < 1.0
    assert (photo.fov_deg, photo.horizon_px, photo.heading.degrees) == (360.0, 90.0, 77.0)
    assert "pitch 20, roll -7 degrees" in photo.assumptions[0]


def test_the_heading_of_a_tilted_part_is_that_of_its_new_middle(tmp_path):
    facts = {
        "PosePitchDegrees": 0, "PoseRollDegrees": 30, "PoseHeadingDegrees": 100,
        "FullPanoWidthPixels": 360, "FullPanoHeightPixels": 180, "CroppedAreaLeftPixels": 180,
        "CroppedAreaTopPixels": 45, "CroppedAreaImageWidthPixels": 90,
        "CroppedAreaImageHeightPixels": 90,
    }  # fmt: skip
    part = tilted(Panorama(fov_deg=90.0, middle_deg=45.0, top=45.0, bottom=-45.0), 0, 30)
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    xmp = f'<rdf:Description GPano:ProjectionType="equirectangular" {attributes}/>'.encode()
    Image.fromarray(taken(part, 90, 90)).save(tmp_path / "p.webp", lossless=True, xmp=xmp)
    photo = load_photo(tmp_path / "p.webp")
    level = turn_upright(taken(part, 90, 90), part)
    assert off(level)[0] < 2.5
    assert photo.heading.degrees == pytest.approx((100.0 + level.middle_deg) % 360.0)


def two_fisheyes(height=240, outside=0):
    rows, columns = np.mgrid[:height, : 2 * height]
    half = height / 2
    radius = np.hypot(rows - half, columns % height - half) / half
    pixels = np.random.default_rng(0).integers(60, 255, (height, 2 * height, 3), dtype=np.uint8)
    pixels[radius > 0.98] = outside
    return pixels


def test_two_round_pictures_on_black_are_no_panorama_although_their_shape_is_one(tmp_path):
    path = tmp_path / "p.jpg"
    Image.fromarray(two_fisheyes()).save(path, quality=80)
    photo = load_photo(path)
    assert (photo.kind, photo.fov_deg) == ("perspective", None)
    assert "two round fisheye pictures" in photo.view_assumptions[0]


def test_other_pictures_of_that_shape_are_no_two_fisheyes():
    assert shows_two_fisheyes(two_fisheyes())
    assert not shows_two_fisheyes(two_fisheyes(outside=90))
    capped = two_fisheyes(outside=90)
    capped[:60] = capped[-60:] = 0  # a panorama whose camera did not see up and down
    assert not shows_two_fisheyes(capped)
    assert not shows_two_fisheyes(np.zeros((100, 200, 3), np.uint8))
    assert not shows_two_fisheyes(two_fisheyes() // 16)  # night


def test_a_field_of_view_given_for_a_tilted_part_is_that_of_the_file_before_it_was_turned(tmp_path):
    facts = {
        "PoseRollDegrees": 30, "FullPanoWidthPixels": 360, "FullPanoHeightPixels": 180,
        "CroppedAreaLeftPixels": 180, "CroppedAreaTopPixels": 45,
        "CroppedAreaImageWidthPixels": 90, "CroppedAreaImageHeightPixels": 90,
    }  # fmt: skip
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    xmp = f'<rdf:Description GPano:ProjectionType="equirectangular" {attributes}/>'.encode()
    part = tilted(Panorama(fov_deg=90.0, middle_deg=45.0, top=45.0, bottom=-45.0), 0, 30)
    Image.fromarray(taken(part, 90, 90)).save(tmp_path / "p.webp", lossless=True, xmp=xmp)
    photo = load_photo(tmp_path / "p.webp")
    assert photo.fov_deg > 95.0
    assert photo.upright_fov_deg(90.0) == pytest.approx(photo.fov_deg)
    assert photo.upright_fov_deg(45.0) == pytest.approx(photo.fov_deg / 2.0)
    assert photo.upright_fov_deg(350.0) == 360.0
    (reading,) = choose_readings(photo, Hints(fov_deg=90.0), toy_info())
    assert (reading.kind, reading.source) == ("panorama", "given")
    assert reading.fov_deg == pytest.approx(photo.fov_deg)
    level = load_photo(np.zeros((90, 180, 3), np.uint8))
    assert level.upright_fov_deg(70.0) == 70.0
