import json

import numpy as np
import pytest
from tests.shared_data import shared

from crossview.views.crops import choose_quarter_turns, turn_circle, turn_image, turn_quarters
from crossview.views.symmetry import roll_ground

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
