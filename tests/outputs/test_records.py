"""Names that may hold any bytes, and the rule for a place that stands out."""

from dataclasses import replace

import numpy as np
import pytest
from tests.outputs.fakes import answer, place

from crossview.localization.answer import Confidence
from crossview.outputs.records import (
    describe_confidence,
    explain_confidence,
    format_km2,
    printable,
    stands_out,
)

CONFIDENCE = Confidence(
    elsewhere=0.1, refused=False, false_reject=0.05, areas=(), kind="panoramas", n=321,
    date="2026-11-21",
)  # fmt: skip


def test_a_name_with_undecodable_bytes_and_controls_becomes_printable():
    name = b"caf\xe9 \x1b[31m\n.jpg".decode("utf-8", "surrogateescape")
    assert printable(name) == "caf\ufffd \ufffd[31m\ufffd.jpg"
    assert printable("straße 東京 🗼.jpg") == "straße 東京 🗼.jpg"


@pytest.mark.parametrize(
    ("second", "said"), [(0.2, "The first place stands out. "), (0.79, "No place stands out, ")]
)
def test_the_first_place_must_lead_by_more_than_chance(second, said):
    places = (place(1, score=0.8), place(2, score=second))
    assert explain_confidence(answer(places=places)).startswith(said)


def test_about_one_picture_of_nowhere_in_twenty_stands_out():
    rng, found = np.random.default_rng(1), 0
    for _ in range(1000):
        scores = rng.normal(size=2000).astype(np.float32)
        first, second = np.sort(scores)[:-3:-1]
        places = (place(1, score=float(first)), place(2, score=float(second)))
        found += stands_out(answer(places=places, scores=scores))
    assert 20 <= found <= 90


def test_without_places_nothing_is_claimed():
    assert explain_confidence(answer(places=())) == "No place was found within the given limits."


@pytest.mark.parametrize("count", [0, 1])
def test_one_window_cannot_stand_out(count):
    lonely = answer(places=(place(),) * count, scores=np.zeros(count, np.float32))
    assert not stands_out(lonely)


@pytest.mark.parametrize(("chance", "leads"), [(0.49, False), (0.51, True)])
def test_with_a_calibration_a_place_stands_out_that_is_likelier_right_than_not(chance, leads):
    calibrated = answer(places=(place(1, probability=chance),), confidence=CONFIDENCE)
    assert stands_out(calibrated) is leads
    assert not stands_out(replace(calibrated, confidence=replace(CONFIDENCE, refused=True)))


@pytest.mark.parametrize(
    ("chance", "said"),
    [(0.0, "0 %"), (0.004, "less than 1 %"), (0.011, "1 %"), (0.989, "99 %"),
     (0.996, "more than 99 %"), (1.0, "100 %")],
)  # fmt: skip
def test_probabilities_are_whole_percents_but_never_rounded_to_certainty(chance, said):
    told = explain_confidence(answer(places=(place(1, probability=chance),), confidence=CONFIDENCE))
    assert told.startswith(f"First place within 25 m: {said}. ")


def test_a_calibration_of_other_regions_says_so_and_claims_nothing_of_this_one():
    carried = replace(CONFIDENCE, carried_from=("north.cvx", "sou\x07th.cvx"))
    told = explain_confidence(answer(places=(place(probability=0.5),), confidence=carried))
    assert "Calibrated on 321 panoramas of other regions (north.cvx, sou\ufffdth.cvx)" in told
    assert "how far it holds here was not measured" in told
    assert "of this region" not in told
    assert describe_confidence(carried)["carried_from"] == ["north.cvx", "sou\x07th.cvx"]
    assert "carried_from" not in describe_confidence(CONFIDENCE)


@pytest.mark.parametrize(
    ("km2", "said"), [(12.34, "12 km²"), (0.0123, "0.012 km²"), (0.0099, "9900 m²")]
)
def test_small_areas_are_in_square_metres(km2, said):
    assert format_km2(km2) == said


def lead_needed(scores, **facts):
    """The lead from which on the first place stands out."""
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        one = answer(places=(place(1, score=middle),), second=0.0, scores=scores, **facts)
        low, high = (low, middle) if stands_out(one) else (middle, high)
    return high


def test_the_lead_is_three_times_that_of_chance_by_the_median_and_the_84th_percentile():
    scores = np.arange(101, dtype=np.float32)  # its quantiles are its numbers
    expected = 3.0 * (84.0 - 50.0) / np.sqrt(2.0 * np.log(101)) / 100.0
    assert lead_needed(scores / 100.0) == pytest.approx(expected, rel=1e-6)
    few = 3.0 * (84.0 - 50.0) / np.sqrt(2.0 * np.log(20.0)) / 100.0
    assert lead_needed(scores / 100.0, searched_places=20.0) == pytest.approx(few, rel=1e-6)


@pytest.mark.parametrize(("searched", "said"), [(9.9, False), (10.0, True)])
def test_of_fewer_than_ten_places_none_stands_out(searched, said):
    assert stands_out(answer(places=(place(1, score=9.0), place(2)), searched_places=searched)) is (
        said
    )


def test_windows_that_were_not_searched_do_not_count():
    scores = np.full(100, np.nan, np.float32)
    scores[:50] = np.random.default_rng(0).normal(0.0, 0.1, 50)
    assert lead_needed(scores) == lead_needed(scores[:50])


def test_a_place_stands_out_however_many_places_are_returned():
    two = (place(1, score=0.9), place(2, score=0.1))
    assert stands_out(answer(places=two))
    assert stands_out(answer(places=two[:1], second=0.1))
    assert not stands_out(answer(places=two[:1], second=0.89))
    assert not stands_out(answer(places=two[:1]))
