"""From located photos to what a calibration is fitted on, and to one calibration per kind."""

from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import FakeIndex, toy
from tests.outputs.fakes import answer

from crossview.calibration.calibrate import add_elsewhere, calibrate, group_photos, list_refusals
from crossview.calibration.fit import CalibrationGoal, evidences, place_masses
from crossview.calibration.known_photos import KnownPhotos, make_known_photo, spot_number, tally
from crossview.errors import InvalidValue
from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.localization.posterior import compute_masses, find_cells_within, measure_evidence
from crossview.localization.search import rank_places

INDEX = FakeIndex(np.ones((400, 64)), toy(), footprint_m=80.0, stride_m=20.0)
WANTED = CalibrationGoal(coverages=(0.8,))


def located(seed, *, fov_deg=360.0, source="panorama"):
    """An answer of random scores, higher near cell ``seed``, and that cell's place."""
    rng = np.random.default_rng(seed)
    row = seed % 400
    truth = move_point(INDEX.latlon(row), east_m=6.0, north_m=-5.0)
    scores = rng.normal(0.0, 0.1, 400).astype(np.float32)
    scores[row] += 0.35
    found = rank_places(INDEX, scores, np.full(400, np.nan, np.float32), 10)
    return answer(places=found, scores=scores, fov_deg=fov_deg, fov_source=source), truth


def photo(seed, **facts):
    return make_known_photo(INDEX, *located(seed, **facts))


def test_a_photo_tells_what_the_posterior_would_say_of_it():
    given, truth = located(123)
    one = photo(123)
    together = KnownPhotos.of([one, photo(7)])
    assert one.truth == pytest.approx(float(given.scores[123]))
    expected = []
    for place in given.places:
        rows, shares = find_cells_within(INDEX.lat, INDEX.lon, 20.0, place.latlon, 25.0)
        expected.append(compute_masses(given.scores, 0.05)[rows] @ shares)
    np.testing.assert_allclose(place_masses(together, 0.05)[0], expected, rtol=1e-4)
    near = [measure_distance_m(place.latlon, truth) <= 25.0 for place in given.places]
    assert one.hits.tolist() == near
    assert one.error_m == pytest.approx(measure_distance_m(given.places[0].latlon, truth))
    assert one.chance == pytest.approx(4 / 400, abs=3 / 400)


def test_taking_the_ground_out_leaves_windows_that_show_none_of_it():
    given, truth = located(123)
    away = [measure_distance_m(INDEX.latlon(n), truth) > 80.0 for n in range(400)]
    scores, counts = photo(123).taken_out
    assert sorted(scores.tolist()) == sorted(given.scores[away].tolist())
    assert counts.sum() == sum(away)


def test_half_of_a_region_must_be_left_when_a_photo_s_own_ground_is_taken_out():
    for cells, measured in ((144, True), (81, False)):
        small = FakeIndex(np.ones((cells, 64)), toy(), footprint_m=80.0, stride_m=20.0)
        truth = small.latlon(cells // 2 + 1)
        away = sum(measure_distance_m(small.latlon(n), truth) > 80.0 for n in range(cells)) / cells
        assert (away >= 0.5) is measured
        assert 0.05 < away < 0.95
        scores = np.random.default_rng(0).random(cells).astype(np.float32)
        found = rank_places(small, scores, np.full(cells, np.nan, np.float32), 3)
        one = make_known_photo(small, answer(places=found, scores=scores), truth)
        assert bool(len(one.taken_out[0])) is measured


def test_photos_within_a_square_of_100_metres_are_one_spot():
    given, _ = located(0)
    rows = range(0, 400, 7)
    spots = {make_known_photo(INDEX, given, INDEX.latlon(row)).spot for row in rows}
    assert len(rows) == 58
    assert 16 <= len(spots) <= 25  # of 380 m x 380 m: four or five squares each way


def test_photos_outside_of_all_cells_are_no_known_photos():
    given, _ = located(0)
    assert (
        make_known_photo(INDEX, given, move_point(INDEX.latlon(0), east_m=-30.0, north_m=0.0))
        is None
    )
    assert make_known_photo(INDEX, replace(given, places=()), INDEX.latlon(0)) is None


def test_a_tally_of_many_scores_keeps_evidence_and_count():
    scores = np.random.default_rng(0).normal(0.0, 0.1, 100_000).astype(np.float32)
    values, counts = tally(scores)
    assert len(values) == len(counts) == 4096
    assert counts.sum() == 100_000
    assert (np.diff(values) <= 0).all()
    for temperature in (0.01, 0.1):
        exact = measure_evidence(scores, temperature)
        told = evidences(values[None], counts[None], temperature)[0]
        assert told == pytest.approx(exact, abs=1e-3)


def test_scores_that_were_not_searched_do_not_count():
    values, counts = tally(np.array([0.2, np.nan, 0.5], np.float32))
    assert (values.tolist(), counts.tolist()) == ([0.5, np.float32(0.2)], [1.0, 1.0])


def some(count, first=0, **facts):
    return [photo(first + n, **facts) for n in range(count)]


def test_each_kind_with_enough_photos_is_calibrated_apart():
    pool = [
        *some(30), *some(25, fov_deg=65.0, source="exif"), *some(26, fov_deg=90.0, source="exif"),
        *some(25, fov_deg=65.0, source="assumed"),
    ]  # fmt: skip
    kinds = calibrate(pool, WANTED, 20.0).kinds
    assert [(kind.name, kind.n) for kind in kinds] == [
        ("panoramas", 30), ("photos of unknown lens", 25), ("photos of 65 degrees", 25),
        ("photos of 90 degrees", 26),
    ]  # fmt: skip
    assert kinds[1].assumed
    assert kinds[2].fov_deg == (65.0, 65.0)


def test_photos_are_calibrated_by_the_width_of_their_class():
    one = photo(0, fov_deg=60.0, source="exif")
    wanted = CalibrationGoal(coverages=(0.5,), false_reject=0.5)  # ten photos of a kind will do
    edges = (30, 54, 55, 79, 80, 119, 120, 299, 300, 360)
    pool = [replace(one, fov_deg=float(fov)) for fov in edges for _ in range(10)]
    names = [group.name for group in group_photos(pool, wanted)]
    assert names == [
        "panoramas", "photos of 30 to 54 degrees", "photos of 55 to 79 degrees",
        "photos of 80 to 119 degrees", "photos of 120 to 299 degrees",
    ]  # fmt: skip
    assert [len(group.photos) for group in group_photos(pool, wanted)] == [20] * 5


def test_widths_with_too_few_photos_are_put_together():
    pool = [*some(13, fov_deg=50.0, source="exif"), *some(13, fov_deg=70.0, source="exif")]
    (kind,) = calibrate(pool, WANTED, 20.0).kinds
    assert (kind.name, kind.n, kind.fov_deg) == ("photos of 50 to 70 degrees", 26, (50.0, 70.0))


def test_a_kind_with_too_few_photos_is_left_out_and_told():
    pool = [*some(30), *some(4, fov_deg=70.0, source="exif")]
    assert [kind.name for kind in calibrate(pool, WANTED, 20.0).kinds] == ["panoramas"]
    (told,) = list_refusals(pool, WANTED)
    assert told.startswith("photos of 70 degrees: 4 known photos are too few")
    assert [group.name for group in group_photos(pool, WANTED)] == [
        "panoramas",
        "photos of 70 degrees",
    ]


def test_when_no_kind_has_enough_it_is_refused():
    with pytest.raises(InvalidValue, match="panoramas: 20 known photos are too few"):
        calibrate(some(20), WANTED, 20.0)


def test_photos_from_elsewhere_are_counted_by_kind():
    calibration = calibrate(some(30), WANTED, 20.0)
    kind = calibration.kinds[0]
    answers = [located(n)[0] for n in range(40, 50)]
    hopeless = [replace(a, scores=a.scores - 1.0) for a in answers[:5]]
    photos = [replace(a, fov_deg=90.0, fov_source="exif") for a in answers]
    measured = add_elsewhere(calibration, [*answers, *hopeless, *photos]).kinds[0].measured
    told = measured["false_accept_elsewhere"]
    accepted = sum(
        measure_evidence(a.scores, kind.fit.temperature) >= kind.fit.refused_below for a in answers
    )
    assert (told["n"], told["value"]) == (15, accepted / 15)


def test_neighbours_on_both_sides_of_longitude_180_are_one_spot():
    west, east = LatLon(-16.9, -179.99999), LatLon(-16.9, 179.99999)
    assert measure_distance_m(west, east) < 3.0
    assert spot_number(west) == spot_number(east)
    assert spot_number(move_point(west, east_m=150.0, north_m=0.0)) != spot_number(west)
