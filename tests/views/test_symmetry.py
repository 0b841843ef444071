"""Both views change their layout together, so that they stay a pair."""

import cv2
import numpy as np
import pytest
from tests.shared_data import shared

from crossview.views.aerial import unroll_as_authors
from crossview.views.colour import SEMANTIC_STRENGTHS, augment_semantic
from crossview.views.symmetry import (
    TURNS,
    Symmetry,
    apply_symmetry,
    find_first_column,
    list_symmetries,
    mirror_pair,
    roll_ground,
    turn_pair,
)

QUARTERS = {"none": 0, "right": 1, "back": 2, "left": 3}  # the authors' words, counter-clockwise


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "layout.npz"))


@pytest.mark.parametrize("turn", QUARTERS)
@pytest.mark.parametrize("mirror", [0, 1])
def test_layouts_are_those_of_geodtr(official, mirror, turn):
    ground, aerial = rows_first(official["w48/ground"]), rows_first(official["w48/aerial"])
    if mirror:
        ground, aerial = mirror_pair(ground, aerial)
    ground, aerial = turn_pair(ground, aerial, QUARTERS[turn])
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


@pytest.mark.parametrize("width", ["w48", "w50"])
@pytest.mark.parametrize("version", ["geodtr", "geodtrplus"])
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("mirror", [False, True])
def test_layouts_are_the_authors_exactly(width, version, turn, mirror):
    official = np.load(shared("parity", "layout.npz"))
    rounding = "geodtr" if version == "geodtr" else "geodtr-plus"
    expected = f"{width}/{version}/mirror{int(mirror)}_{turn}"
    ground = np.moveaxis(official[f"{width}/ground"], 0, -1)
    for name, polar in (("aerial", False), ("aerial_polar", True)):
        aerial = np.moveaxis(official[f"{width}/{name}"], 0, -1)
        change = Symmetry(mirror, turn)
        pair = apply_symmetry(ground, aerial, change, polar=polar, rounding=rounding)
        for image, theirs in zip(pair, ("ground", name), strict=True):
            assert np.array_equal(np.moveaxis(image, -1, 0), official[f"{expected}/{theirs}"])


def test_version_2_turns_left_and_right_by_as_many_columns_and_version_1_does_not():
    assert [find_first_column(turn, 671, "geodtr-plus") for turn in TURNS] == [0, 504, 167, 335]
    assert find_first_column("left", 671, "geodtr") == 503


def test_strong_weak_and_none_have_eight_two_and_one():
    assert [len(list_symmetries(s)) for s in ("strong", "weak", "none")] == [8, 2, 1]
    assert all(list_symmetries(s)[0] == Symmetry() for s in ("strong", "weak", "none"))


def test_a_turned_picture_unrolls_to_the_unrolled_picture_turned():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    aerial = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
    for turn in TURNS[1:]:
        before = unroll_as_authors(aerial, 16, 64)
        turned, square = apply_symmetry(before, aerial, Symmetry(turn=turn), polar=False)
        again = unroll_as_authors(
            square, 16, 64
        )  # their centre lies half a pixel off: not the same
        assert np.abs(again - turned).mean() < 0.2 * np.abs(again - before).mean()


@pytest.mark.parametrize("strength", SEMANTIC_STRENGTHS)
def test_colours_are_seeded_and_leave_the_picture_alone(strength):
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    before = picture.copy()
    one, two = (augment_semantic(picture, np.random.default_rng(3), strength) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(picture, before)
    assert np.array_equal(one, picture) == (strength == "none")
    assert one is not picture


def test_strong_blurs_down_the_columns_only():
    picture = np.zeros((9, 9, 3), np.uint8)
    picture[4, 4] = 255
    for seed in range(5):
        spread = augment_semantic(picture, np.random.default_rng(seed), "strong").max(axis=2) > 0
        assert not spread[:, [0, 1, 2, 3, 5, 6, 7, 8]].any()


def test_grey_and_four_bits_come_one_time_in_five():
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    grey = 0
    for seed in range(400):
        changed = augment_semantic(picture, np.random.default_rng(seed), "strong")
        grey += bool((changed.max(axis=2) == changed.min(axis=2)).all())
    assert 55 < grey < 105
