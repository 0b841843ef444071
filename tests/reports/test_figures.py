"""Where a map of errors puts its points, and what it takes for one area."""

from dataclasses import replace

import numpy as np
import pytest
from tests.reports.made_up import evaluation

from crossview.geo.points import LatLon, measure_distance_m
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.reports.figures import _find_areas


def at(latlon, error_m=3.0):
    """A record whose queries were taken and found at these places."""
    places = np.asarray(latlon, float)
    record = evaluation(count=len(places))
    queries = replace(
        record.queries,
        truth_latlon=places,
        found_latlon=places,
        error_m=np.full(len(places), error_m),
    )
    return replace(record, queries=queries)


def town(lat, lon, count=50, seed=0):
    """Places within about a kilometre."""
    around = np.random.default_rng(seed).uniform(-0.005, 0.005, (count, 2))
    return around + np.array([lat, lon])


def test_points_lie_as_far_apart_as_on_the_ground():
    (area,) = _find_areas(at(town(60.0, 25.0)))
    places = town(60.0, 25.0)
    for i, j in ((0, 1), (5, 30), (7, 49)):
        metres = measure_distance_m(LatLon(*places[i]), LatLon(*places[j]))
        assert np.hypot(*(area.truth[i] - area.truth[j])) == pytest.approx(metres, rel=1e-3)


def test_towns_that_lie_apart_are_areas_of_their_own_the_largest_first():
    areas = list(_find_areas(at(np.r_[town(47.0, 8.0, 40), town(47.3, 8.5, 60)])))
    assert [area.total for area in areas] == [60, 40]


def test_a_town_on_longitude_180_is_one_area_of_its_real_size():
    places = town(-16.8, 180.0, 80)
    places[:, 1] = (places[:, 1] + 180.0) % 360.0 - 180.0
    assert {-1.0, 1.0} == set(np.sign(places[:, 1]))
    (area,) = _find_areas(at(places))
    assert area.total == 80
    assert np.abs(area.truth).max() < 700.0


def test_references_are_drawn_where_the_queries_are():
    record = evaluation()
    (area,) = _find_areas(record)
    low, high = area.truth.min(axis=0), area.truth.max(axis=0)
    assert len(area.gallery)
    assert ((area.gallery >= low) & (area.gallery <= high)).all()


def test_an_answer_is_right_within_what_is_right_everywhere():
    assert RIGHT_WITHIN_M == 25.0
    (area,) = _find_areas(at(town(47.0, 8.0), error_m=24.9))
    assert (area.error_m <= RIGHT_WITHIN_M).all()


def test_towns_ten_kilometres_apart_are_two_areas_and_districts_a_kilometre_apart_are_one():
    apart = np.r_[town(47.0, 8.0, 40), town(47.1, 8.0, 60)]
    assert [area.total for area in _find_areas(at(apart))] == [60, 40]
    districts = np.r_[town(47.0, 8.0, 40), town(47.02, 8.0, 60)]
    assert [area.total for area in _find_areas(at(districts))] == [100]
