"""The best windows of a photo, compared with it again."""

import numpy as np
import pytest
from tests.localization.fake_index import index_of_panoramas, spheres, toy, turned
from tests.localization.test_calibration_record import calibration

from crossview.errors import InvalidValue
from crossview.localization.hints import MOST_RERANK, Hints
from crossview.localization.locate import locate

EMBEDDER = toy(bins=16, dim=16 * 8)  # turns of 22.5 degrees
PANORAMAS = spheres(12)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER)


def find(picture, **hints):
    return locate(INDEX, picture, hints=Hints(**hints), embedder=EMBEDDER)


def test_a_panorama_between_two_turns_is_found_at_half_a_turn():
    picture = turned(PANORAMAS[3], 22.5 * 2.5)
    once, again = find(picture), find(picture, rerank=5)
    assert again.places[0].window == 3
    assert again.places[0].heading_deg == pytest.approx(22.5 * 2.5)
    assert again.places[0].score > once.places[0].score + 0.01


def test_only_the_best_are_compared_again():
    picture = turned(PANORAMAS[3], 22.5 * 2.5)
    once, again = find(picture), find(picture, rerank=5)
    changed = np.flatnonzero(once.scores != again.scores)
    assert set(changed) <= set(np.argsort(-once.scores)[:5])


def test_a_calibration_of_other_scores_says_nothing(monkeypatch):
    monkeypatch.setattr(INDEX.manifest, "calibration", calibration().to_json())
    assert find(PANORAMAS[3]).confidence is not None
    again = find(PANORAMAS[3], rerank=5)
    assert again.confidence is None
    assert "compared again" in again.unmeasured


@pytest.mark.parametrize("count", [-1, MOST_RERANK + 1, 2.0, True])
def test_how_many_windows_are_compared_again_is_a_whole_number_within_bounds(count):
    with pytest.raises(InvalidValue, match="compared again"):
        Hints(rerank=count)
