"""Of a calibrated region: probabilities, the outlined area, and "probably not here"."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from tests.index.regions import TOY, indexed
from tests.localization.test_calibration_record import KIND, calibration
from tests.service.conftest import jpeg, photos

from crossview.index.store import write_manifest
from crossview.service.regions import Regions
from crossview.service.schemas import LocateAnswers


@pytest.fixture
def asked(tmp_path, served):
    """The answer of a region whose calibration refuses what is below some evidence."""

    def made(refused_below):
        index = indexed(tmp_path, stride_m=40.0)
        fit = replace(KIND.fit, refused_below=refused_below)
        known = calibration(replace(KIND, fov_deg=(360.0, 360.0), assumed=False, fit=fit))
        write_manifest(index.path, replace(index.manifest, calibration=known.to_json()))
        client = served(regions=Regions([index.path], lambda _: TOY))
        found = client.post("/v1/locate?heat=true", files=photos(jpeg())).json()
        heat = client.post("/v1/heat?most=1000", files=photos(jpeg())).json()
        return LocateAnswers.model_validate(found).answers[0], heat["features"]

    return made


def test_the_heat_is_the_posterior_and_sums_to_what_is_not_elsewhere(asked):
    answer, points = asked(-1e9)
    assert answer.heat.of == "posterior"
    total = sum(point["properties"]["probability"] for point in points)
    assert total == pytest.approx(1.0 - answer.calibrated.elsewhere, abs=1e-3)
    assert answer.places[0].probability is not None


def test_the_area_is_told_as_windows_and_holds_the_best(asked):
    answer, points = asked(-1e9)
    for area in answer.calibrated.areas:
        windows = np.frombuffer(base64.b64decode(area.windows), "<u4")
        assert points[0]["properties"]["window"] in windows


def test_probably_not_here_stands_beside_its_false_rejects(asked):
    answer, _ = asked(1e9)
    assert answer.calibrated.refused
    assert answer.calibrated.false_reject == 0.05
    assert "5 %" in answer.confidence


def test_without_a_calibration_there_is_no_probability(client):
    found = client.post("/v1/locate?heat=true", files=photos(jpeg())).json()["answers"][0]
    assert "calibrated" not in found
    assert found["heat"]["of"] == "scores"
    assert "probability" not in found["places"][0]
