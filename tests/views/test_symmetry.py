import numpy as np
import pytest
from tests.shared_data import shared

from crossview.views.symmetry import mirror_pair, roll_ground, turn_pair

TURNS = {"none": 0, "right": 1, "back": 2, "left": 3}  # the authors' words, counter-clockwise


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "layout.npz"))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("mirror", [0, 1])
def test_layouts_are_those_of_geodtr(official, mirror, turn):
    ground, aerial = rows_first(official["w48/ground"]), rows_first(official["w48/aerial"])
    if mirror:
        ground, aerial = mirror_pair(ground, aerial)
    ground, aerial = turn_pair(ground, aerial, TURNS[turn])
    for version in ("geodtr", "geodtrplus"):
        expected = f"w48/{version}/mirror{mirror}_{turn}"
        np.testing.assert_array_equal(ground, rows_first(official[f"{expected}/ground"]))
        np.testing.assert_array_equal(aerial, rows_first(official[f"{expected}/aerial"]))


def rows_first(image):
    return np.moveaxis(image, 0, -1)


def test_turning_the_camera_by_90_degrees_rolls_a_panorama_by_a_quarter():
    panorama = np.arange(4)[None, :, None]
    assert roll_ground(panorama, by_deg=90.0)[0, :, 0].tolist() == [1, 2, 3, 0]


def test_four_quarters_change_nothing():
    rng = np.random.default_rng(0)
    pair = rng.integers(0, 9, (2, 12, 3)), rng.integers(0, 9, (5, 5, 3))
    for before, after in zip(pair, turn_pair(*pair, 4), strict=True):
        np.testing.assert_array_equal(before, after)
