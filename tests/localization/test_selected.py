"""Answers of an index that is not in memory: made of what is selected of it.

Here the index is in memory all the same, behind a face that says otherwise, so that its answers can
be compared with those of all windows.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.index.windows_contract import MANIFEST, ORIGIN, STRIDE_M
from tests.localization.fake_index import spheres, toy, turned

from crossview.errors import InvalidValue
from crossview.geo.perimeters import surround_points
from crossview.geo.points import measure_distance_m, measure_distances_m, move_point
from crossview.index.selection import Selection
from crossview.index.store import FolderWriter, Index
from crossview.localization import search
from crossview.localization.belief import _view, locate_together
from crossview.localization.hints import Hints, Prior
from crossview.localization.locate import locate_many
from crossview.localization.posterior import (
    compute_log_prior,
    compute_masses,
    compute_posterior,
    measure_evidence,
    measure_shift,
)
from crossview.localization.queries import make_queries
from crossview.outputs.records import stands_out
from crossview.views.ground import make_ground_view

SIDE = 24
EMBEDDER = toy()
PANORAMAS = spheres(9)


class Elsewhere:
    """An index as an engine has it that holds no windows in memory."""

    held = None

    def __init__(self, index):
        self._index = index

    def __getattr__(self, name):
        return getattr(self._index, name)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """576 windows 10 m apart: nine look like a panorama, and those around them a little."""
    views = [
        make_ground_view(p, "panorama", EMBEDDER.info.ground, fov_deg=360.0) for p in PANORAMAS
    ]
    strips = EMBEDDER.ground(np.stack(views))
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(SIDE * SIDE, strips.shape[1]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    for n, strip in enumerate(strips):
        row, column = 4 + 8 * (n // 3), 4 + 8 * (n % 3)
        near = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 4.0)
        vectors += 4.0 * near[:, None] * strip
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = [
        move_point(ORIGIN, east_m=STRIDE_M * column, north_m=STRIDE_M * row)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    table = np.array([[place.lat, place.lon, 0.0] for place in places])
    folder = tmp_path_factory.mktemp("selected") / "town.cvx"
    writer = FolderWriter(folder)
    writer.put(0, vectors.astype(np.float32), table, [b"jpeg"] * len(table))
    model = replace(
        MANIFEST.model,
        fingerprint=EMBEDDER.fingerprint,
        dim=strips.shape[1],
        azimuth_bins=EMBEDDER.info.azimuth_bins,
    )
    writer.seal(replace(MANIFEST, model=model))
    return Index.open(folder)


@pytest.fixture
def few(monkeypatch):
    """So few windows are selected that they are not all."""
    monkeypatch.setattr(search, "BEST", 40)
    monkeypatch.setattr(search, "DRAWN", 80)


PHOTOS = [turned(panorama, 90.0) for panorama in PANORAMAS]
HINTS = {
    "none": Hints(places=5),
    "a circle": Hints(places=3, near=move_point(ORIGIN, east_m=80, north_m=80), within_m=70.0),
    "an area": Hints(
        places=2,
        area=surround_points(np.array([ORIGIN.lat]), np.array([ORIGIN.lon]), 90.0),
    ),
    "a heading": Hints(places=3, heading_deg=270.0),
    "a prior": Hints(
        places=3, prior=Prior(place=move_point(ORIGIN, east_m=120, north_m=40), sigma_m=40.0)
    ),
    "compared again": Hints(places=3, rerank=20),
    "a claim": Hints(places=3, claim=move_point(ORIGIN, east_m=200, north_m=200)),
}


@pytest.mark.parametrize("hints", HINTS.values(), ids=HINTS)
def test_places_are_those_of_the_whole_index(index, few, hints):
    whole = locate_many(index, EMBEDDER, PHOTOS[:3], hints)
    some = locate_many(Elsewhere(index), EMBEDDER, PHOTOS[:3], hints)
    for one, other in zip(whole, some, strict=True):
        assert isinstance(other.held, Selection)
        assert other.held.count < index.count
        assert [p.window for p in other.places] == [p.window for p in one.places]
        for place, same in zip(one.places, other.places, strict=True):
            assert measure_distance_m(place.latlon, same.latlon) < 0.01
            assert same.score == pytest.approx(place.score, abs=1e-5)
            assert same.heading_deg == pytest.approx(place.heading_deg, abs=0.01)
        assert other.second == pytest.approx(one.second, abs=1e-5)
        assert other.searched_places == pytest.approx(one.searched_places)
        if hints.claim is not None:
            assert other.claim.standing.windows == one.claim.standing.windows
            assert other.claim.standing.window == one.claim.standing.window
            assert other.claim.standing.percentile == pytest.approx(
                one.claim.standing.percentile, abs=8.0
            )
        if hints.prior is not None:
            assert other.prior.bits == pytest.approx(one.prior.bits, abs=0.1)
            assert other.prior.holds == pytest.approx(one.prior.holds, abs=0.02)
            assert measure_distance_m(other.prior.mean, one.prior.mean) < 3.0


def test_the_evidence_is_that_of_all_windows_give_or_take_a_little(index, few):
    (whole,) = locate_many(index, EMBEDDER, PHOTOS[:1], HINTS["none"])
    (some,) = locate_many(Elsewhere(index), EMBEDDER, PHOTOS[:1], HINTS["none"])
    assert measure_evidence(some.scores, 0.05, some.held.weights) == pytest.approx(
        measure_evidence(whole.scores, 0.05), abs=0.02
    )
    unweighed = measure_evidence(some.scores, 0.05)
    assert abs(unweighed - measure_evidence(whole.scores, 0.05)) > 0.2
    assert stands_out(some) == stands_out(whole)
    assert some.held.weights.sum() == pytest.approx(index.count)


def test_where_everything_is_selected_the_answer_is_the_same(index):
    (whole,) = locate_many(index, EMBEDDER, PHOTOS[:1], HINTS["none"])
    (same,) = locate_many(Elsewhere(index), EMBEDDER, PHOTOS[:1], HINTS["none"])
    np.testing.assert_array_equal(same.scores, whole.scores)
    assert repr(same.places) == repr(whole.places)
    assert compute_posterior(same.held, same) is None  # there is no calibration


def test_several_photos_have_one_place(index, few):
    photos = [turned(PANORAMAS[4], by_deg) for by_deg in (0.0, 90.0, 180.0)]
    for turns in (None, [0.0, 90.0, 180.0]):
        whole = locate_together(index, EMBEDDER, photos, Hints(places=3), turns)
        some = locate_together(Elsewhere(index), EMBEDDER, photos, Hints(places=3), turns)
        assert some.places[0].window == whole.places[0].window
        assert some.spot.first_share == pytest.approx(whole.spot.first_share, abs=0.03)
        assert measure_distance_m(some.spot.mean, whole.spot.mean) < 3.0
        for one, other in zip(whole.together, some.together, strict=True):
            assert other.bits == pytest.approx(one.bits, abs=0.2)
            assert other.foreign == pytest.approx(one.foreign, abs=0.02)


def test_an_area_without_windows_is_an_error(index):
    with pytest.raises(InvalidValue, match="no window of the index lies in the given area"):
        locate_many(
            Elsewhere(index),
            EMBEDDER,
            PHOTOS[:1],
            Hints(near=move_point(ORIGIN, east_m=9000, north_m=0), within_m=50.0),
        )


def test_more_windows_are_asked_for_until_they_make_enough_places(index, monkeypatch):
    monkeypatch.setattr(search, "BEST", 2)
    monkeypatch.setattr(search, "DRAWN", 5)
    (whole,) = locate_many(index, EMBEDDER, PHOTOS[:1], Hints(places=9, rerank=0))
    (some,) = locate_many(Elsewhere(index), EMBEDDER, PHOTOS[:1], Hints(places=9, rerank=0))
    assert [p.window for p in some.places] == [p.window for p in whole.places]
    assert len(some.places) == 9


def test_of_the_ground_that_a_prior_speaks_for_the_best_windows_are_held_too(index, monkeypatch):
    monkeypatch.setattr(search, "BEST", 6)
    monkeypatch.setattr(search, "DRAWN", 10)
    prior = Prior(place=move_point(ORIGIN, east_m=120.0, north_m=120.0), sigma_m=25.0)
    query = next(make_queries([spheres(1, seed=9)[0]], [Hints(prior=prior)], EMBEDDER))
    (whole,) = search.search(index, [query])
    (some,) = search.search(Elsewhere(index), [query])
    inside = np.flatnonzero(measure_distances_m(prior.place, index.lat, index.lon) <= 100.0)
    best = inside[np.argsort(-whole.scores[inside])[:24]]
    assert {*best} <= {*some.held.numbers[some.held.weights == 1.0]}


# A window that stands for several counts as if it were there so often.

TIMES = np.array([1.0, 3.0, 2.0, 5.0])
ROWS = np.repeat(np.arange(4), TIMES.astype(int))
SPOTS = [move_point(ORIGIN, east_m=30.0 * n, north_m=10.0 * n) for n in range(4)]


def hold(rows, weights):
    """Windows of a region of eleven."""
    return SimpleNamespace(
        lat=np.array([SPOTS[n].lat for n in rows]),
        lon=np.array([SPOTS[n].lon for n in rows]),
        weights=weights,
        total=11,
        manifest=MANIFEST,
    )


def test_masses_and_priors_count_a_window_as_often_as_it_stands_for():
    scores = np.array([0.5, 0.48, 0.52, 0.41])
    few, every = hold(range(4), TIMES), hold(ROWS, None)
    prior = Prior(place=SPOTS[1], sigma_m=35.0)
    said = []
    for held, own in ((few, scores), (every, scores[ROWS])):
        masses = compute_masses(own, 0.05, compute_log_prior(held, prior), held.weights)
        said.append((masses, measure_shift(held, prior, masses, SPOTS[2])))
    (few_masses, few_shift), (every_masses, every_shift) = said
    np.testing.assert_allclose(few_masses, np.bincount(ROWS, every_masses), rtol=1e-12)
    for name in ("bits", "holds", "spread_m", "first_share"):
        assert getattr(few_shift, name) == pytest.approx(getattr(every_shift, name)), name
    assert measure_distance_m(few_shift.mean, every_shift.mean) < 1e-6


def test_what_a_photo_says_of_windows_is_one_on_average_over_all(index, few):
    query = next(make_queries([PHOTOS[0]], [Hints()], EMBEDDER))
    (result,) = search.search(Elsewhere(index), [query])
    view = _view(result.held, query, result, None)
    weights = result.held.weights
    assert weights.max() > 1.5
    assert weights @ view.odds[:, 0] / weights.sum() == pytest.approx(1.0)
    drawn = view.odds[weights > 1.0, 0]
    (whole,) = search.search(index, [query])
    odds = _view(index, query, whole, None).odds[result.held.numbers[weights > 1.0], 0]
    np.testing.assert_allclose(drawn, odds, rtol=0.1)
