import json
from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import FakeIndex, index_of_panoramas, spheres, toy, turned

from crossview.errors import BadIndex
from crossview.geo.points import measure_distance_m, move_point
from crossview.localization.calibration_record import (
    Calibrated,
    Calibration,
    Carried,
    Fit,
    Reach,
    Spread,
    Stratum,
)
from crossview.localization.hints import Hints
from crossview.localization.locate import locate
from crossview.localization.posterior import (
    compute_masses,
    find_cell,
    find_cells_within,
    measure_evidence,
)

EMBEDDER = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))
PANORAMAS = spheres(20)
FIT = Fit(
    temperature=0.05,
    bias=0.0,
    slope=1.0,
    refused_below=1.0,
    reaches=(Reach(coverage=0.9, below_best=0.1), Reach(coverage=0.95, below_best=0.4)),
)
KIND = Calibrated(name="panoramas", fov_deg=(360.0, 360.0), assumed=False, n=321, fit=FIT)

KIND_JSON = Calibration(
    kinds=(KIND,), crossview="0", created="", share=0.05, false_reject=0.05
).to_json()["kinds"][0]


def calibration(*kinds, **changes):
    facts = {"created": "2026-11-21T10:00:00+00:00", "share": 0.05, "false_reject": 0.05}
    return Calibration(kinds=kinds or (KIND,), crossview="0", **{**facts, **changes})


@pytest.fixture
def index():
    made = index_of_panoramas(PANORAMAS, EMBEDDER)
    made.manifest.calibration = calibration().to_json()
    return made


def find(index, picture=PANORAMAS[7], **hints):
    return locate(index, picture, hints=Hints(**hints), embedder=EMBEDDER)


def test_masses_are_a_softmax_over_what_was_searched():
    scores = np.array([0.3, np.nan, 0.1, 0.2], np.float32)
    powers = np.exp(np.array([0.3, 0.1, 0.2]) / 0.05)
    np.testing.assert_allclose(
        compute_masses(scores, 0.05)[[0, 2, 3]], powers / powers.sum(), rtol=1e-5
    )
    assert compute_masses(scores, 0.05)[1] == 0.0
    assert measure_evidence(scores, 0.05) == pytest.approx(np.log(powers.mean()), rel=1e-5)


def test_evidence_does_not_grow_with_the_region():
    scores = np.random.default_rng(0).normal(size=50)
    assert measure_evidence(np.tile(scores, 20), 0.3) == pytest.approx(
        measure_evidence(scores, 0.3)
    )
    assert measure_evidence(scores, 0.3, np.full(50, 7.0)) == pytest.approx(
        measure_evidence(scores, 0.3)
    )


def test_a_place_belongs_to_the_cell_it_lies_in():
    index = FakeIndex(np.ones((9, 64)), EMBEDDER, stride_m=50.0)
    for row in range(9):
        near = move_point(index.latlon(row), east_m=24.0, north_m=-24.0)
        assert find_cell(index.lat, index.lon, 50.0, near) == row
    beside = move_point(index.latlon(0), east_m=-40.0, north_m=0.0)
    assert find_cell(index.lat, index.lon, 50.0, beside) is None


@pytest.mark.parametrize("stride_m", [4.0, 10.0, 20.0, 70.0])
def test_cells_within_a_circle_add_up_to_its_ground(stride_m):
    index = FakeIndex(np.ones((625, 64)), EMBEDDER, stride_m=stride_m)
    rows, shares = find_cells_within(index.lat, index.lon, stride_m, index.latlon(312), 25.0)
    assert shares.sum() * stride_m**2 == pytest.approx(np.pi * 25.0**2, rel=0.1)
    assert shares[rows == 312] == pytest.approx(1.0 if stride_m < 70 else 0.4, abs=0.05)
    off = [measure_distance_m(index.latlon(312), index.latlon(int(row))) for row in rows]
    assert max(off) < 25.0 + stride_m


def test_without_a_calibration_nothing_is_said():
    answer = find(index_of_panoramas(PANORAMAS, EMBEDDER))
    assert (answer.confidence, answer.unmeasured) == (None, "")
    assert {place.probability for place in answer.places} == {None}


def test_probabilities_are_the_mass_of_the_ground_near_each_place(index):
    answer = find(index, turned(PANORAMAS[7], 45.0))
    here = 1.0 - answer.confidence.elsewhere
    mass = compute_masses(
        answer.scores, FIT.temperature
    )  # cells of 50 m: a circle covers a part of one
    covered = find_cells_within(index.lat, index.lon, 50.0, index.latlon(7), 25.0)[1].max()
    for place in answer.places:
        assert place.probability == pytest.approx(here * covered * mass[place.window])
    assert sum(place.probability for place in answer.places) <= 1.0


def test_the_odds_of_elsewhere_count_with_their_share(index):
    answer = find(index)
    odds = 0.05 / 0.95 * np.exp(-measure_evidence(answer.scores, FIT.temperature))
    assert answer.confidence.elsewhere == pytest.approx(odds / (1.0 + odds))
    assert not answer.confidence.refused


def test_an_area_holds_the_cells_near_the_best_score(index):
    answer = find(index)
    for area, reach in zip(answer.confidence.areas, FIT.reaches, strict=True):
        best = answer.scores.max()
        expected = [n for n, s in enumerate(answer.scores) if float(best) - s <= reach.below_best]
        assert area.rows.tolist() == expected
        assert answer.places[0].window in expected
        assert area.km2 == pytest.approx(len(expected) * 0.0025)
        assert area.share == pytest.approx(len(expected) / 20)
    assert (answer.confidence.n, answer.confidence.date) == (321, "2026-11-21")


def test_a_picture_with_too_little_evidence_is_refused(index):
    strict = replace(KIND, fit=replace(FIT, refused_below=1e6))
    index.manifest.calibration = calibration(strict).to_json()
    assert find(index).confidence.refused


def test_a_kind_that_was_not_measured_gets_no_probability(index):
    answer = find(index, PANORAMAS[7][96:160, 64:448], fov_deg=270.0)
    assert answer.confidence is None
    assert answer.unmeasured == "the calibration was made on panoramas"
    assert answer.places[0].probability is None


@pytest.mark.parametrize(
    "hints", [{"heading_deg": 0.0}, {"horizon_px": 128.0}, {"near": None, "within_m": 500.0}]
)
def test_a_hint_that_the_calibration_did_not_have_ends_it(index, hints):
    if "near" in hints:
        hints["near"] = index.latlon(0)
    answer = find(index, **hints)
    assert answer.confidence is None
    assert "which the calibration did not have" in answer.unmeasured


def test_kinds_are_told_apart_by_width_and_by_whether_it_is_known(index):
    photos = replace(KIND, name="photos of 60 to 70 degrees", fov_deg=(60.0, 70.0))
    unknown = replace(photos, name="photos of unknown lens", assumed=True)
    known = calibration(KIND, photos, unknown)
    answer = find(index)
    assert known.find(answer) is KIND
    for fov, source, expected in (
        (65.0, "exif", photos), (55.0, "given", photos), (76.9, "exif", photos),
        (78.0, "exif", None), (54.0, "exif", None), (90.0, "assumed", unknown),
    ):  # fmt: skip
        assert known.find(replace(answer, fov_deg=fov, fov_source=source)) is expected


def test_places_get_the_sigmas_of_their_summits(index):
    spread = Spread(centre_m=4.0, position=0.5, heading=0.25)
    index.manifest.calibration = calibration(replace(KIND, spread=spread)).to_json()
    for place in find(index).places:  # windows 50 m apart have no summits, nor have turns of 45
        assert (place.position_sigma_m, place.heading_sigma_deg) == (4.0, None)
    place = replace(place, peak_m=3.0, peak_deg=2.0)
    refined = spread.add_sigmas(place)
    assert (refined.position_sigma_m, refined.heading_sigma_deg) == (1.5, 0.5)
    unknown = Spread(centre_m=4.0).add_sigmas(place)
    assert (unknown.position_sigma_m, unknown.heading_sigma_deg) == (None, None)


@pytest.mark.parametrize("number", [1, 2])
def test_a_calibration_of_before_says_nothing_of_sigmas(index, number):
    old = calibration().to_json()
    for values in (old, *old["kinds"]):
        values.pop("carried_from", None)
        values.pop("spread", None)
    index.manifest.calibration = {**old, "format": number}
    answer = find(index)
    assert answer.places[0].probability is not None
    assert answer.places[0].position_sigma_m is None
    assert answer.confidence.carried_from == ()


def test_what_was_carried_over_is_in_the_answer(index):
    region = Carried(index="other.cvx", created="2026-11-20T10:00:00+00:00")
    index.manifest.calibration = calibration(carried_from=(region,)).to_json()
    assert find(index).confidence.carried_from == ("other.cvx",)


def test_a_calibration_survives_its_json():
    known = calibration(replace(KIND, measured={"brier": 0.1, "sets": [{"asked": 0.9}]}))
    assert Calibration.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_strata_by_light_are_kept_and_those_of_earlier_versions_read_as_before():
    def make(stratum):
        reach = Reach(coverage=0.9, below_best=0.1, strata=(stratum,))
        return calibration(replace(KIND, fit=replace(KIND.fit, reaches=(reach,))))

    by_light = make(Stratum(ground_light_below=0.8, below_best=0.2))
    assert by_light.to_json()["format"] == 4  # which earlier versions refuse in words
    assert Calibration.from_json(json.loads(json.dumps(by_light.to_json()))) == by_light
    earlier = make(Stratum(prominence_below=0.2, below_best=0.3)).to_json()
    assert earlier["format"] == 3
    (reach,) = earlier["kinds"][0]["fit"]["reaches"]
    assert reach["strata"] == [{"prominence_below": 0.2, "below_best": 0.3}]
    (read,) = Calibration.from_json(earlier).kinds[0].fit.reaches
    assert read.limit([0.1, 0.5]).tolist() == [0.3, 0.1]


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 99},
        {"kinds": [{}]},
        {"kinds": None},
        {"surprise": 1},
        {"kinds": [{**KIND_JSON, "spread": {"centre_m": 0.0}}]},
        {"kinds": [{**KIND_JSON, "spread": {"centre_m": 1.0, "position": "2"}}]},
        {"carried_from": [{"index": "a.cvx"}]},
        {"carried_from": "a.cvx"},
    ],
)
def test_a_damaged_calibration_says_to_calibrate_again(index, damage):
    index.manifest.calibration = {**calibration().to_json(), **damage}
    with pytest.raises(BadIndex, match="Calibrate again"):
        find(index)
