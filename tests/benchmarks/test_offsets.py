"""What the benchmark of offsets says of a town, and how it cuts one into tiles."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.offsets import list_tiles, measure, measure_town
from tests.evaluation.made import made_evaluation

from crossview.geo.points import LatLon, move_point


def test_a_camera_has_one_match_in_whose_central_quarter_it_stands_and_three_near_misses():
    rng = np.random.default_rng(1)
    for row, column in rng.uniform(1, 9, (50, 2)):
        tiles = list(list_tiles(row, column))
        assert sorted(relation for relation, _ in tiles) == ["ignore"] * 3 + ["match"]
        for relation, tile in tiles:
            away = np.abs(np.array(tile) - (row, column))
            assert (away < 1).all()  # a tile reaches one step each way
            assert (away <= 0.5).all() == (relation == "match")


def record_of(shift_m):
    """Truths ``shift_m`` east of the middle of their right tiles; the regression finds half."""
    record = made_evaluation()
    queries = record.queries
    truth = [
        move_point(LatLon(*record.references.latlon[at]), east_m=shift_m, north_m=0.0)
        for at in queries.truth
    ]
    latlon = np.array([(place.lat, place.lon) for place in truth])
    changed = {
        "truth_latlon": latlon,
        "right_error_m": np.full(len(truth), shift_m),
        "right_offset_error_m": np.full(len(truth), shift_m / 2),
        "offset_error_m": np.full(len(truth), 7.0),
    }
    for name, values in changed.items():
        object.__setattr__(queries, name, values)
    return record


def test_a_town_is_measured_from_the_middle_the_mean_offset_and_the_regressed_place():
    found = measure_town(record_of(12.0), (0.0, 4.0))
    assert found["right tile: middle, m"] == pytest.approx(12.0)
    assert found["right tile: mean offset of training, m"] == pytest.approx(8.0, abs=0.01)
    assert found["right tile: regressed - middle, m"] == pytest.approx(-6.0)
    assert found["right tile: regressed within 10 m, %"] == 100.0
    assert found["right tile: middle within 10 m, %"] == 0.0


def test_intervals_are_over_towns():
    found = measure([record_of(8.0), record_of(12.0)], (0.0, 0.0))["right tile: middle, m"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((10.0, 8.0, 12.0))
