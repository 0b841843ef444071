"""Names that may hold any bytes, and the rule for a place that stands out."""

import numpy as np
import pytest
from tests.maps.fakes import answer, place

from crossview.maps.wording import (
    NO_PLACES,
    NOTHING_STANDS_OUT,
    STANDS_OUT,
    confidence,
    printable,
    stands_out,
)


def test_a_name_with_undecodable_bytes_and_controls_becomes_printable():
    name = b"caf\xe9 \x1b[31m\n.jpg".decode("utf-8", "surrogateescape")
    assert printable(name) == "caf\ufffd \ufffd[31m\ufffd.jpg"
    assert printable("straße 東京 🗼.jpg") == "straße 東京 🗼.jpg"


@pytest.mark.parametrize(("second", "said"), [(0.2, STANDS_OUT), (0.79, NOTHING_STANDS_OUT)])
def test_the_first_place_must_lead_by_more_than_chance(second, said):
    places = (place(1, score=0.8), place(2, score=second))
    assert confidence(answer(places=places)) == said


def test_about_one_picture_of_nowhere_in_twenty_stands_out():
    rng, found = np.random.default_rng(1), 0
    for _ in range(1000):
        scores = rng.normal(size=2000).astype(np.float32)
        first, second = np.sort(scores)[:-3:-1]
        places = (place(1, score=float(first)), place(2, score=float(second)))
        found += stands_out(answer(places=places, scores=scores))
    assert 20 <= found <= 90


def test_without_places_nothing_is_claimed():
    assert confidence(answer(places=())) == NO_PLACES


@pytest.mark.parametrize("count", [0, 1])
def test_one_window_cannot_stand_out(count):
    lonely = answer(places=(place(),) * count, scores=np.zeros(count, np.float32))
    assert not stands_out(lonely)
