"""Ground under squares, overlaps counted once."""

import numpy as np
import pytest

from crossview.geo.footprints import measure_covered_km2
from crossview.geo.points import LatLon, move_point


def grid_of(origin, metres, across):
    places = [
        move_point(origin, east_m=i * metres, north_m=j * metres)
        for i in range(across)
        for j in range(across)
    ]
    return np.array([p.lat for p in places]), np.array([p.lon for p in places])


@pytest.mark.parametrize("lat", [0.0, 52.5, -60.0])
def test_a_square_covers_its_area(lat):
    assert measure_covered_km2(np.array([lat]), np.array([13.4]), 80.0) == pytest.approx(
        0.0064, rel=0.15
    )


@pytest.mark.parametrize("lat", [0.01, 52.5, -60.0])
def test_overlapping_squares_cover_their_union(lat):
    squares = grid_of(LatLon(lat, 13.4), 20.0, 40)  # 780 m + 80 m across
    assert measure_covered_km2(*squares, 80.0) == pytest.approx(0.86**2, rel=0.02)


def test_squares_that_lie_apart_add_up():
    squares = grid_of(LatLon(52.5, 13.4), 500.0, 5)
    assert measure_covered_km2(*squares, 80.0) == pytest.approx(25 * 0.0064, rel=0.05)


def test_many_blocks_count_as_one(monkeypatch):
    squares = grid_of(LatLon(52.5, 13.4), 20.0, 20)
    whole = measure_covered_km2(*squares, 80.0)
    monkeypatch.setattr("crossview.geo.footprints._BLOCK", 7)
    assert measure_covered_km2(*squares, 80.0) == whole


def test_no_squares_cover_nothing():
    assert measure_covered_km2(np.empty(0), np.empty(0), 80.0) == 0.0
