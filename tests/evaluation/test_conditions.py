"""What a query shows under a condition."""

from dataclasses import replace

import numpy as np
import pytest
from tests.toy_embedder import toy_info

from crossview.errors import InvalidValue
from crossview.evaluation.conditions import (
    ANY_FOV_DEG,
    Condition,
    QueryCanvas,
    draw_query,
    list_untrained,
    parse_conditions,
)
from crossview.views.spec import ViewSpec

WIDE = ViewSpec(side="ground", height_px=4, width_px=360)
PADDED = replace(WIDE, representation="padded")


def compass(width=360):
    """A canvas whose columns hold the azimuth that they look at, in steps of 360 / width."""
    columns = np.arange(width) * 360 // width
    pixels = np.stack([columns // 2, columns % 2, np.zeros(width)], axis=1)
    return np.repeat(pixels[None].astype(np.uint8), 4, axis=0)


def asked(name="q", fov=360.0, ahead=0.0, width=360):
    return QueryCanvas(name=name, canvas=compass(width), fov_deg=fov, ahead_deg=ahead)


def azimuths(pixels):
    """Degrees from the middle of the aligned panorama that the columns look at."""
    return pixels[0, :, 0].astype(int) * 2 + pixels[0, :, 1] - 180


def test_an_aligned_panorama_is_turned_until_the_references_up_is_in_front():
    pixels, seen, _ = draw_query(asked(ahead=90.0), WIDE, Condition(within_deg=0.0))
    assert azimuths(pixels)[180 + 90] == 0  # the file's middle looked 90 degrees to the right
    assert seen == 360.0
    unknown, _, _ = draw_query(asked(ahead=float("nan")), WIDE, Condition(within_deg=0.0))
    np.testing.assert_array_equal(unknown, compass())


def test_a_narrow_field_of_view_keeps_the_middle_columns():
    pixels, seen, _ = draw_query(asked(), WIDE, Condition(fov_deg=90.0, within_deg=0.0))
    assert (pixels.shape[1], seen) == (90, 90.0)
    assert azimuths(pixels).tolist() == list(range(-45, 45))
    padded, _, _ = draw_query(asked(), PADDED, Condition(fov_deg=90.0, within_deg=0.0))
    assert padded.shape == (4, 360, 3)
    np.testing.assert_array_equal(padded[:, 135:225], pixels)
    assert (padded[:, :135] == PADDED.mean_colour).all()


def test_every_model_sees_the_same_part_of_a_query_whatever_its_size():
    """A half-size model's columns are every second one of the big model's."""
    small = replace(WIDE, width_px=180)
    for name in ("a", "b", "c"):
        condition = Condition(fov_deg=90.0, seed=3)
        big, _, _ = draw_query(asked(name), WIDE, condition)
        half, _, _ = draw_query(asked(name, width=180), small, condition)
        assert (big.shape[1], half.shape[1]) == (90, 45)
        apart = (azimuths(half)[22] - azimuths(big)[44] + 180) % 360 - 180
        assert abs(apart) <= 2


def test_turns_are_drawn_by_the_id_and_the_seed_and_cover_the_circle():
    def front(name, **condition):
        pixels, _, _ = draw_query(asked(name), WIDE, Condition(**condition))
        return int(azimuths(pixels)[180])

    names = [str(n) for n in range(200)]
    turns = np.array([front(name) for name in names])
    assert turns.tolist() == [front(name) for name in names]
    assert turns.tolist() != [front(name, seed=1) for name in names]
    assert np.histogram(turns, 4, (-180, 180))[0].min() > 30
    near = np.array([front(name, within_deg=20.0) for name in names])
    assert near.min() >= -20
    assert near.max() <= 20
    assert np.ptp(near) > 30


def test_hard_samples_show_another_layout_of_the_same_part():
    condition = Condition(fov_deg=90.0, within_deg=0.0)
    straight = azimuths(draw_query(asked(), WIDE, condition)[0])
    mirrored = azimuths(draw_query(asked(), WIDE, replace(condition, change="mirrored"))[0])
    turned = azimuths(draw_query(asked(), WIDE, replace(condition, change="turned"))[0])
    assert mirrored.tolist() == straight[::-1].tolist()
    assert turned.tolist() == (straight + 90).tolist()


def test_any_field_of_view_is_drawn_per_query():
    widths = [draw_query(asked(str(n)), WIDE, Condition(fov_deg=None))[1] for n in range(100)]
    assert ANY_FOV_DEG == (70.0, 360.0)  # the narrowest of the papers to the whole circle
    assert ANY_FOV_DEG[0] <= min(widths) < 80
    assert 350 < max(widths) <= ANY_FOV_DEG[1]


def test_a_photo_is_never_turned_and_loses_columns_only_if_it_has_more():
    photo = QueryCanvas(name="q", canvas=compass()[:, 135:225], fov_deg=90.0, ahead_deg=33.0)
    same, seen, _ = draw_query(photo, WIDE, Condition(fov_deg=180.0))
    np.testing.assert_array_equal(same, photo.canvas)
    assert seen == 90.0
    less, seen, _ = draw_query(photo, WIDE, Condition(fov_deg=70.0))
    assert (less.shape[1], seen) == (70, 70.0)


def test_what_a_model_was_not_trained_for_is_said():
    info = toy_info(fov_seen_deg=(360.0, 360.0), headings_seen="aligned")
    assert list_untrained(info, Condition(within_deg=0.0)) == ()
    assert list_untrained(info, Condition()) == ("trained on aligned panoramas only",)
    assert len(list_untrained(info, Condition(fov_deg=None))) == 2
    assert list_untrained(toy_info(), Condition(fov_deg=70.0)) == ()


def test_a_grid_is_every_cell_once_and_seeds_only_where_something_is_drawn():
    cells = parse_conditions("360,any", "unknown", 2, ["fog:2"])
    assert [c.folder for c in cells] == [
        "fov-360-unknown-seed-0", "fov-360-unknown-seed-1",
        "fov-360-unknown-fog-2-seed-0", "fov-360-unknown-fog-2-seed-1",
        "fov-any-unknown-seed-0", "fov-any-unknown-seed-1",
        "fov-any-unknown-fog-2-seed-0", "fov-any-unknown-fog-2-seed-1",
    ]  # fmt: skip
    assert len(parse_conditions("360,90", "aligned", 5, [])) == 2
    assert len(parse_conditions("360", "20", 1, ["snow"])) == 6
    assert parse_conditions("90", "20", 1, [])[0].headings == "within 20 degrees"
    with pytest.raises(InvalidValue):
        parse_conditions("wide", "unknown", 1, [])


@pytest.mark.parametrize("change", ["", "mirrored"])
def test_damage_reaches_what_the_picture_shows_and_not_the_empty_canvas(change):
    condition = Condition(fov_deg=90.0, within_deg=0.0, change=change)
    clean, _, _ = draw_query(asked(), PADDED, condition)
    foggy, _, _ = draw_query(asked(), PADDED, replace(condition, corruption="fog", severity=5))
    assert (foggy[:, :135] == PADDED.mean_colour).all()
    assert (foggy[:, 225:] == PADDED.mean_colour).all()
    assert (foggy[:, 135:225] != clean[:, 135:225]).any()
