"""Heat: one byte per score, and many windows made into few cells."""

import base64

import numpy as np
import pytest
from tests.outputs.fakes import ORIGIN, answer

from crossview.geo.points import moved
from crossview.outputs.map_layers import build_heat_grid, count_affordable_cells, describe_scores


def grid(rows, columns, stride_m=20.0):
    points = [
        moved(ORIGIN, east_m=c * stride_m, north_m=r * stride_m)
        for r in range(rows)
        for c in range(columns)
    ]
    return np.array([p.lat for p in points]), np.array([p.lon for p in points])


def codes_of(scores, given):
    record = describe_scores(answer(scores=np.asarray(scores, np.float32)), given)
    return np.frombuffer(base64.b64decode(record["codes"]), np.uint8), record


def test_few_windows_are_cells_of_their_own():
    lat, lon = grid(5, 4)
    found = build_heat_grid(lat, lon, 20.0, limit=20)
    np.testing.assert_allclose(found.lat, lat)
    assert not found.merged
    assert found.spacing_m == 20.0


@pytest.mark.parametrize("limit", [1, 7, 300])
def test_many_windows_share_cells_and_none_is_lost(limit):
    lat, lon = grid(30, 40)
    found = build_heat_grid(lat, lon, 20.0, limit=limit)
    assert len(found.lat) <= limit
    assert sorted(set(found.of_window)) == list(range(len(found.lat)))
    for cell in range(len(found.lat)):
        assert found.lat[cell] == pytest.approx(lat[found.of_window == cell].mean())


def test_a_cell_has_the_best_score_of_its_windows():
    lat, lon = grid(30, 40)
    found = build_heat_grid(lat, lon, 20.0, limit=100)
    scores = np.random.default_rng(0).normal(size=1200)
    codes, record = codes_of(scores, found)
    slow = [scores[found.of_window == cell].max() for cell in range(len(found.lat))]
    back = record["low"] + (codes - 1.0) / 254.0 * (record["high"] - record["low"])
    np.testing.assert_allclose(back, slow, atol=(max(slow) - min(slow)) / 254)


def test_windows_that_were_not_searched_have_a_code_of_their_own():
    codes, record = codes_of(
        [0.5, -np.inf, 0.1, np.nan], build_heat_grid(*grid(2, 2), 20.0, limit=9)
    )
    assert codes.tolist() == [255, 0, 1, 0]  # as the page draws them
    assert (record["low"], record["high"]) == (0.1, 0.5)


def test_equal_scores_are_fine():
    assert codes_of([0.3] * 4, build_heat_grid(*grid(2, 2), 20.0, limit=9))[0].tolist() == [1] * 4


@pytest.mark.parametrize("scores", [[], [0.1] * 3, [np.nan] * 4])
def test_without_a_score_per_window_there_is_no_heat(scores):
    given = answer(scores=np.array(scores, np.float32))
    assert describe_scores(given, build_heat_grid(*grid(2, 2), 20.0, limit=9)) is None


def test_more_photos_leave_room_for_fewer_cells():
    assert count_affordable_cells([answer()] * 500, 10**7) < count_affordable_cells(
        [answer()], 10**7
    )
    assert count_affordable_cells([answer()] * 500, 0) == 256  # fewer show nothing
