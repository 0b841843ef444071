"""What lies outside of the fields of view that a model saw: one tolerance, a tenth, everywhere."""

from dataclasses import replace

import numpy as np
import pytest
from tests.localization.test_calibration_record import KIND
from tests.outputs.fakes import answer
from tests.toy_embedder import toy_info

from crossview.evaluation.conditions import Condition, list_untrained
from crossview.localization.hints import Hints
from crossview.localization.queries import prepare_query
from crossview.views.decode import make_photo

INFO = toy_info(fov_seen_deg=(66.0, 200.0))
EDGES = [(59.9, False), (60.0, True), (66.0, True), (219.9, True), (220.1, False)]


@pytest.mark.parametrize(("fov", "covered"), EDGES)
def test_a_tenth_wider_or_narrower_than_what_was_seen_is_covered(fov, covered):
    assert INFO.covers(fov) is covered


@pytest.mark.parametrize(("fov", "covered"), EDGES)
def test_locate_evaluate_and_calibrations_ask_the_same(fov, covered):
    assert (list_untrained(INFO, Condition(fov_deg=fov)) == ()) is covered
    photo = make_photo(np.zeros((90, 160, 3), np.uint8))
    query, _ = prepare_query(photo, Hints(fov_deg=fov), INFO)
    assert (not any("fields of view" in text for text in query.warnings)) is covered
    kind = replace(KIND, fov_deg=INFO.fov_seen_deg, assumed=False)
    assert kind.covers(answer(fov_deg=fov, fov_source="given")) is covered
