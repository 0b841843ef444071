from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from crossview.errors import InvalidValue, UnknownName
from crossview.networks.layout_masks import require_centred
from crossview.pairs.batch import PairPixels
from crossview.studies.geodtr_plus_variant import Config, augment
from crossview.training.contract import example_table
from crossview.views.symmetry import Symmetry, apply_symmetry, list_symmetries

SQUARE = {"polar": False, "whole": True}  # pictures are the views already
LAYOUTS_ONLY = Config(**SQUARE, semantic="none")


def marked_pair():
    """Column c of the panorama holds c; the aerial's quadrants hold 0, 1, 2, 3."""
    ground = np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (4, 1, 3))
    aerial = np.kron([[0, 1], [2, 3]], np.ones((8, 8))).astype(np.uint8)
    return PairPixels(
        ground=ground, aerial=np.repeat(aerial[..., None], 3, axis=2), metres_per_px=1.0
    )


def layout_of(pair):
    """Which of the eight a marked pair shows, by its ground and by its aerial picture."""
    original = marked_pair()
    found = [
        change
        for change in list_symmetries("strong")
        for ground, aerial in [
            apply_symmetry(original.ground, original.aerial, change, polar=False)
        ]
        if np.array_equal(ground, pair.ground) and np.array_equal(aerial, pair.aerial)
    ]
    (one,) = found  # both views agree on exactly one
    return one


def drawn(how, count=700, pair=None):
    return [augment(pair or marked_pair(), how, np.random.default_rng(n)) for n in range(count)]


def test_one_copy_shows_each_of_the_eight_layouts_equally_often():
    seen = Counter(layout_of(copies[0]) for copies in drawn(replace(LAYOUTS_ONLY, chsg=False)))
    assert len(seen) == 8
    assert 55 < min(seen.values()) < max(seen.values()) < 130


def test_the_two_copies_of_chsg_never_share_a_layout_and_differ_by_any_of_seven():
    pairs = [(layout_of(a), layout_of(b)) for a, b in drawn(LAYOUTS_ONLY)]
    assert all(first != second for first, second in pairs)
    from_north = Counter(second for first, second in pairs if first == Symmetry())
    assert len(from_north) == 7


def test_the_same_layout_for_both_copies_is_the_papers_s_plus_same_l():
    for first, second in drawn(replace(LAYOUTS_ONLY, copies_layout="same"), 20):
        assert layout_of(first) == layout_of(second)


def test_copies_have_their_own_colours_unless_told_otherwise():
    how = Config(**SQUARE, layout="none")
    first, second = drawn(how, 1)[0]
    assert not np.array_equal(first.ground, second.ground)
    first, second = drawn(replace(how, copies_semantic="same"), 1)[0]
    assert np.array_equal(first.ground, second.ground)
    assert np.array_equal(first.aerial, second.aerial)


def test_without_layouts_copies_stay_as_photographed():
    for pair in drawn(replace(LAYOUTS_ONLY, layout="none"), 5)[0]:
        assert layout_of(pair) == Symmetry()


def test_a_photo_is_mirrored_and_never_turned():
    photo = replace(marked_pair(), fov_deg=90.0, heading_deg=10.0)
    for first, second in drawn(LAYOUTS_ONLY, 30, photo):
        one, other = layout_of(first), layout_of(second)
        assert (one.turn, other.turn) == ("none", "none")
        assert one.mirror != other.mirror
        assert first.heading_deg == (-10.0 if one.mirror else 10.0)


def test_unknown_words_are_refused():
    with pytest.raises(InvalidValue, match="layout must be strong, weak or none, got 'stong'"):
        Config(layout="stong")
    with pytest.raises(UnknownName, match="Did you mean 'strong'"):
        Config(semantic="stong")
    with pytest.raises(InvalidValue, match="copies_layout must be other or same"):
        Config(copies_layout="none")


def test_cameras_away_from_the_middle_are_refused_for_the_polar_view():
    table = example_table(9)
    require_centred(table, 70.0)
    away = replace(table, aerial_latlon=table.aerial_latlon + np.array([1.4e-4, 0]))  # 15.6 m north
    with pytest.raises(InvalidValue, match="stands 16 m from the middle"):
        require_centred(away, 70.0)
