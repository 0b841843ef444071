import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.localization.fake_index import FakeIndex, toy

from crossview.geo.points import measure_distance_m
from crossview.localization.search import count_searched_places, pick_apart, rank_places

EMBEDDER = toy()


def fake(count=25, **options):
    return FakeIndex(np.ones((count, 64)), EMBEDDER, **options)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), stride=st.sampled_from([10.0, 20.0, 50.0]))
def test_places_are_apart_ordered_and_leave_nothing_better_out(seed, stride):
    index = fake(stride_m=stride)
    scores = np.random.default_rng(seed).random(25).astype(np.float32)
    rows = pick_apart(scores, index.lat, index.lon, 20.0, 25)
    assert list(scores[rows]) == sorted(scores[rows], reverse=True)
    points = [index.latlon(row) for row in range(25)]
    for n, row in enumerate(rows):
        assert all(measure_distance_m(points[row], points[other]) > 20.0 for other in rows[:n])
    for row in set(range(25)) - set(rows):
        better = [o for o in rows if scores[o] >= scores[row]]
        assert min(measure_distance_m(points[row], points[o]) for o in better) <= 20.1


def test_equal_scores_give_the_lower_row_first():
    index = fake(stride_m=50.0)
    assert pick_apart(np.ones(25, np.float32), index.lat, index.lon, 20.0, 4) == [0, 1, 2, 3]


def test_windows_exactly_half_a_footprint_apart_are_one_place():
    index = fake(4, stride_m=20.0)
    found = rank_places(
        index, np.array([1.0, 0.9, 0.8, 0.7], np.float32), np.zeros(4, np.float32), 4
    )
    assert [place.window for place in found] == [0, 3]  # the diagonal is farther


@pytest.mark.parametrize(("stride_m", "windows"), [(20.0, [0, 3]), (20.5, [0, 1, 2, 3])])
def test_windows_a_little_farther_apart_than_half_a_footprint_are_two_places(stride_m, windows):
    index = fake(4, stride_m=stride_m)  # of footprints of 40 m
    found = rank_places(
        index, np.array([1.0, 0.9, 0.8, 0.7], np.float32), np.zeros(4, np.float32), 4
    )
    assert [place.window for place in found] == windows


def test_windows_without_a_score_are_no_places():
    index = fake(4)
    scores = np.array([np.nan, 0.5, np.nan, np.nan], np.float32)
    assert [p.window for p in rank_places(index, scores, np.zeros(4, np.float32), 10)] == [1]
    nothing = np.full(4, np.nan, np.float32)
    assert rank_places(index, nothing, nothing, 10) == ()


def test_a_pin_is_the_centre_of_its_window_and_a_heading_counts_from_north():
    index = fake(9, up_bearing_deg=10.0)
    scores = np.zeros(9, np.float32)
    scores[5] = 0.75
    first = rank_places(index, scores, np.full(9, 355.0, np.float32), 1)[0]
    assert measure_distance_m(first.latlon, index.latlon(5)) == 0.0
    assert (first.rank, first.score, first.window) == (1, 0.75, 5)
    assert first.heading_deg == pytest.approx(5.0)
    assert first.footprint.up_bearing_deg == 10.0
    assert first.probability is None


def test_without_headings_none_is_told():
    scores = np.ones(4, np.float32)
    assert rank_places(fake(4), scores, np.full(4, np.nan, np.float32), 1)[0].heading_deg is None


def test_places_are_half_a_footprint_apart_give_or_take_a_thousandth():
    falling = np.array([1.0, 0.9, 0.8, 0.7], np.float32)
    for stride, count in ((20.01, 2), (20.03, 4)):  # of a footprint of 40 m
        found = rank_places(fake(4, stride_m=stride), falling, np.zeros(4, np.float32), 4)
        assert len(found) == count
    for footprint, count in ((39.0, 4), (41.0, 2)):
        index = fake(4, stride_m=20.0, footprint_m=footprint)
        assert len(rank_places(index, falling, np.zeros(4, np.float32), 4)) == count


def test_what_was_searched_counts_in_places_side_by_side():
    scores = np.ones(25, np.float32)
    assert count_searched_places(fake(stride_m=10.0), scores) == 25 / 4  # of 20 m
    assert count_searched_places(fake(stride_m=20.0), scores) == 25.0
    assert count_searched_places(fake(stride_m=50.0), scores) == 25.0
    scores[5:] = np.nan
    assert count_searched_places(fake(stride_m=10.0), scores) == 5 / 4
