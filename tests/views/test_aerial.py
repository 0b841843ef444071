import numpy as np
import pytest

from crossview.errors import InvalidValue
from crossview.views.aerial import make_aerial_view
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import mirror_pair, turn_pair

POLAR = ViewSpec(side="aerial", height_px=64, width_px=256, footprint_m=80.0, polar=True)
FLAT = ViewSpec(side="aerial", height_px=64, width_px=64, footprint_m=80.0)


def ground_colours(east_m, north_m):
    waves = np.sin(east_m / 6.0) * np.cos(north_m / 7.0)
    return np.stack([128.0 + east_m, 128.0 + north_m, 128.0 + 100.0 * waves], axis=-1)


def seen_from_above(side_px, metres_per_px):
    """A north-up picture of the analytic ground, the origin in its exact middle."""
    across = (np.arange(side_px) + 0.5 - side_px / 2.0) * metres_per_px
    colours = ground_colours(across[None, :] + 0 * across[:, None], -across[:, None] + 0 * across)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("side_px", "metres_per_px"),
    [(160, 0.5), (161, 0.5), (320, 0.25), (321, 0.25), (423, 0.25), (90, 1.0), (999, 0.0811)],
)
def test_columns_are_azimuths_and_rows_are_distances(side_px, metres_per_px):
    view = make_aerial_view(seen_from_above(side_px, metres_per_px), metres_per_px, POLAR)
    azimuth = np.radians(360.0 * (np.arange(256) + 0.5) / 256 - 180.0)
    distance_m = (40.0 * (64 - np.arange(64) - 0.5) / 64)[:, None]
    expected = ground_colours(distance_m * np.sin(azimuth), distance_m * np.cos(azimuth))
    assert np.abs(view - expected).max() < 2.0


def test_the_bottom_row_is_the_centre_and_the_middle_column_north():
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[:80] = 255  # north half
    view = make_aerial_view(pixels, 0.5, POLAR)
    assert (view[:50, 128] == 255).all()
    assert (view[:50, 0] == 0).all()
    assert 50 < view[-1].mean() < 200


@pytest.mark.parametrize("quarters", [1, 2, 3, 5, -1])
def test_turning_the_aerial_image_shifts_its_polar_view_like_a_panorama(quarters):
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    view = make_aerial_view(pixels, 0.5, POLAR)
    shifted, turned = turn_pair(view, pixels, quarters)
    assert np.abs(make_aerial_view(turned, 0.5, POLAR).astype(int) - shifted).max() <= 8


def test_mirroring_the_aerial_image_mirrors_its_polar_view():
    pixels = np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    mirrored_view, mirrored = mirror_pair(make_aerial_view(pixels, 0.5, POLAR), pixels)
    assert np.abs(make_aerial_view(mirrored, 0.5, POLAR).astype(int) - mirrored_view).max() <= 8


@pytest.mark.parametrize("spec", [POLAR, FLAT])
def test_what_lies_beyond_the_footprint_does_not_show(spec):
    pixels = seen_from_above(200, 0.5)
    framed = np.full((240, 240, 3), 77, np.uint8)
    framed[20:220, 20:220] = pixels
    assert (make_aerial_view(framed, 0.5, spec) == make_aerial_view(pixels, 0.5, spec)).all()


def test_a_flat_view_is_the_mean_of_the_area_under_each_pixel():
    pixels = np.random.default_rng(2).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    expected = pixels.reshape(64, 5, 64, 5, 3).mean(axis=(1, 3))
    assert np.abs(make_aerial_view(pixels, 0.25, FLAT) - expected).max() <= 0.51


@pytest.mark.parametrize("spec", [POLAR, FLAT])
@pytest.mark.parametrize("metres_per_px", [0.3, 0.0, -1.0, float("nan")])
def test_a_picture_smaller_than_the_footprint_is_refused(spec, metres_per_px):
    with pytest.raises(InvalidValue, match="footprint of 80 m"):
        make_aerial_view(seen_from_above(160, 0.5), metres_per_px, spec)


@pytest.mark.parametrize("spec", [POLAR, FLAT])
def test_a_pixel_too_few_is_tolerated(spec):
    assert make_aerial_view(seen_from_above(159, 0.5), 0.5, spec).shape == (64, spec.width_px, 3)
