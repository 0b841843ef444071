import numpy as np
import pytest
from PIL import Image
from tests.shared_data import shared

from crossview.views.aerial import resize_view
from crossview.views.spec import IMAGENET_MEAN, IMAGENET_STD

NOISE = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)


def test_area_is_the_mean_of_what_a_pixel_covers():
    expected = NOISE.reshape(100, 3, 100, 3, 3).mean(axis=(1, 3))
    assert np.abs(resize_view(NOISE, (100, 100), "area") - expected).max() <= 0.51


def test_antialiased_linear_is_pillows():
    expected = Image.fromarray(NOISE).resize((96, 64), Image.Resampling.BILINEAR)
    assert (resize_view(NOISE, (64, 96), "linear-antialias") == np.asarray(expected)).all()


def test_plain_linear_aliases_and_the_others_do_not():
    spread = {
        r: resize_view(NOISE, (60, 60), r).std() for r in ("linear", "area", "linear-antialias")
    }
    assert spread["linear"] > 2 * spread["linear-antialias"]
    assert spread["linear"] > 2 * spread["area"]


@pytest.mark.parametrize("rule", ["linear", "area", "linear-antialias"])
def test_a_picture_of_the_right_size_is_left_alone(rule):
    assert (resize_view(NOISE, (300, 300), rule) == NOISE).all()
    assert resize_view(NOISE, (600, 450), rule).shape == (600, 450, 3)


@pytest.mark.parametrize(
    ("loader", "view", "rule"),
    [
        ("sample4geo", "satellite", "linear"),
        ("sample4geo", "ground", "linear"),
        ("singeo", "ground", "linear"),
        ("geodtrplus_nopolar", "aerial", "linear-antialias"),
        ("transgeo", "ground", "linear-antialias"),
        ("l2ltr_nopolar", "ground", "linear-antialias"),
    ],
)
def test_resized_and_normalised_pictures_are_those_of_the_official_loaders(loader, view, rule):
    official = np.load(shared("parity", "preprocess.npz"))
    seed, *shape = official[f"input_{'ground' if view == 'ground' else 'aerial'}_seed_then_shape"]
    picture = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)
    size = tuple(official[f"{loader}/{view}/shape"][1:])
    small = resize_view(picture, size, rule) / 255.0
    normal = np.moveaxis((small - IMAGENET_MEAN) / IMAGENET_STD, -1, 0)
    expected = official[f"{loader}/{view}/every7th_row_11th_col"]
    np.testing.assert_allclose(normal[:, ::7, ::11], expected, atol=1e-5)
