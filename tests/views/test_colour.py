import numpy as np
import pytest
from tests.views.scenes import panorama

from crossview.errors import InvalidValue
from crossview.views import colour as changes
from crossview.views.colour import augment_photometric, measure_ground_light

IMAGE = panorama(128)


def test_one_seed_gives_one_picture():
    first, second = (augment_photometric(IMAGE, np.random.default_rng(7)) for _ in range(2))
    assert (first == second).all()


def test_the_picture_that_was_given_stays_as_it_was():
    before = IMAGE.copy()
    for seed in range(50):
        augment_photometric(IMAGE, np.random.default_rng(seed))[:] = 0
    assert (before == IMAGE).all()


def test_strength_0_changes_nothing_and_more_strength_changes_more():
    def change(strength):
        draws = [augment_photometric(IMAGE, np.random.default_rng(s), strength) for s in range(200)]
        return np.abs(np.array(draws, dtype=float) - IMAGE).mean()

    assert change(0.0) == 0.0
    assert change(0.0) < change(0.5) < change(1.5)


def test_negative_strength_is_refused():
    with pytest.raises(InvalidValue, match="strength"):
        augment_photometric(IMAGE, np.random.default_rng(0), -1.0)


def test_colour_without_amount_is_the_identity():
    assert (changes.jitter_colour(IMAGE, np.random.default_rng(0), 0.0) == IMAGE).all()


def test_grey_stays_grey_whatever_happens_to_hue_and_saturation():
    grey = np.full((4, 4, 3), 120, np.uint8)
    for seed in range(20):
        out = changes.jitter_colour(grey, np.random.default_rng(seed), 0.15).astype(int)
        assert np.ptp(out, axis=2).max() <= 1
        assert 0.84 * 120 <= out.min() <= out.max() <= 1.16 * 120


def test_filters_keep_a_flat_picture_flat():
    flat = np.full((16, 16, 3), 90, np.uint8)
    assert (changes.blur(flat, np.random.default_rng(1)) == 90).all()
    kernel = changes.draw_blur_kernel(np.random.default_rng(2))
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)


def test_sharpening_raises_contrast_at_an_edge():
    edge = np.repeat(np.repeat([[100, 150]], 8, axis=1), 8, axis=0)[..., None].astype(np.uint8)
    out = changes.sharpen(np.repeat(edge, 3, axis=2), np.random.default_rng(0))
    assert out.min() < 100
    assert out.max() > 150


def test_grid_holes_have_the_authors_size():
    image = np.full((140, 768, 3), 255, np.uint8)
    row = changes.drop_grid(image, 0.5)[0, :, 0]
    holes = np.flatnonzero(np.diff(np.concatenate([[255], row, [255]]).astype(int)))
    assert holes[:4].tolist() == [0, 38, 76, 114]  # units of 76, holes of 38


def test_coarse_holes_are_black_and_leave_most_of_the_picture():
    image = np.full((384, 384, 3), 255, np.uint8)
    shares = [(changes.drop_boxes(image, np.random.default_rng(s)) == 0).mean() for s in range(20)]
    assert min(shares) > 0.05
    assert max(shares) < 0.75


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (5, 200, 3)])
def test_odd_shapes_keep_their_shape(shape):
    image = np.full(shape, 100, np.uint8)
    for seed in range(40):
        out = augment_photometric(image, np.random.default_rng(seed), 2.0)
        assert (out.shape, out.dtype) == (shape, np.uint8)


UNSEEN = (124, 116, 104)


@pytest.mark.parametrize("rows", [40, 41])
def test_the_light_of_the_ground_is_told_against_the_sky_whatever_the_exposure(rows):
    day = np.full((rows, 60, 3), 160, np.uint8)
    day[rows // 2 :] = 120
    assert measure_ground_light(day, UNSEEN) == pytest.approx(0.75, abs=0.02)
    assert measure_ground_light(day // 2, UNSEEN) == pytest.approx(0.75, abs=0.02)
    night = day[::-1] // 4
    assert measure_ground_light(night, UNSEEN) == pytest.approx(1.33, abs=0.03)
    narrow = day.copy()
    narrow[:, 20:] = UNSEEN
    assert measure_ground_light(narrow, UNSEEN) == measure_ground_light(day, UNSEEN)


def test_a_strip_that_shows_nothing_has_the_light_of_neither_day_nor_night():
    assert measure_ground_light(np.full((8, 9, 3), UNSEEN, np.uint8), UNSEEN) == 1.0
    assert measure_ground_light(np.zeros((8, 9, 3), np.uint8), UNSEEN) == 1.0
