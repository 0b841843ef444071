"""Places between windows and headings between turns: found where scores are a known summit."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.localization.fake_index import ORIGIN, FakeIndex, index_of_panoramas, spheres, toy

from crossview.geo.points import LatLon, measure_distance_m, move_point, wrap_lon
from crossview.localization import search
from crossview.localization.hints import Hints, KnownHeading
from crossview.localization.locate import locate
from crossview.localization.refinement import FALL, find_summit, find_turn_summit, refine_places
from crossview.localization.search import SearchResult, rank_places, score_surroundings

BINS, STRIDE_M, FOOTPRINT_M = 30, 8.0, 80.0
STEP_DEG = 360.0 / BINS
EMBEDDER = toy(bins=BINS)


def world(places, truth, *, up_bearing_deg=0.0, heading_deg=100.0, width_m=20.0, bins=BINS):
    """An index in memory and a query, whose scores are a bump about ``truth`` and a heading.

    The query sees one bin. Window i describes turn s by a vector that leans towards the query by as
    much as it is near to the truth and s to the heading.
    """
    embedder = toy(bins=bins)
    dim = embedder.info.dim // bins
    index = FakeIndex(
        np.ones((len(places), bins * dim)), embedder, footprint_m=FOOTPRINT_M, stride_m=STRIDE_M
    )
    index.lat = np.array([place.lat for place in places])
    index.lon = np.array([place.lon for place in places])
    index.up_bearing_deg = np.broadcast_to(up_bearing_deg, len(places)).astype(np.float64)
    away_m = np.array([measure_distance_m(place, truth) for place in places])
    bearings = index.up_bearing_deg[:, None] + np.arange(bins) * 360.0 / bins
    off_deg = (bearings - heading_deg + 180.0) % 360.0 - 180.0
    cosines = 0.9 * np.exp(-0.5 * (away_m[:, None] / width_m) ** 2 - 0.5 * (off_deg / 30.0) ** 2)
    vectors = np.zeros((len(places), bins, dim))
    vectors[..., 0], vectors[..., 1] = cosines, np.sqrt(1.0 - cosines**2)
    index.vectors = vectors.reshape(len(places), -1).astype(np.float32)
    query_vector = np.zeros((1, bins, dim), np.float32)
    query_vector[0, 0, 0] = 1.0
    query = SimpleNamespace(
        readings=(SimpleNamespace(fov_deg=STEP_DEG),), turned_deg=0.0, heading=None,
        vectors=query_vector.reshape(1, -1),
    )  # fmt: skip
    return index, query, cosines.astype(np.float32)


def grid(side=9, stride_m=STRIDE_M, turn_deg=0.0, origin=ORIGIN):
    """Places of a square grid about ``origin``, turned clockwise."""
    turn = math.radians(turn_deg)
    steps = (np.arange(side) - side // 2) * stride_m
    return [
        move_point(
            origin,
            east_m=x * math.cos(turn) + y * math.sin(turn),
            north_m=y * math.cos(turn) - x * math.sin(turn),
        )
        for y in steps
        for x in steps
    ]


def refine(index, query, cosines, *, scores=None, weights=None, count=1):
    """Places, refined, as locate does it: scores are the cosines of the best turn."""
    best = cosines.max(1) if scores is None else scores
    headings = cosines.argmax(1).astype(np.float32) * np.float32(360.0 / cosines.shape[1])
    result = SearchResult(0, best, headings, index)
    ranked = rank_places(index, best, headings, count, weights)
    return move(index, query, result, ranked, weights)


def move(index, query, result, ranked, weights=None):
    around = score_surroundings(index, query, result, ranked)
    return refine_places(index, query, ranked, around, weights)


@pytest.fixture(autouse=True)
def one_bin_is_seen(monkeypatch):
    """The query describes its own bin alone."""

    def seen(fovs, bins, turned):
        return np.tile(np.eye(1, bins, dtype=np.float32), (len(fovs), 1))

    monkeypatch.setattr(search, "compute_bin_coverage", seen)


@pytest.mark.parametrize("turn_deg", [0.0, 20.0, 45.0])
@pytest.mark.parametrize(("east_m", "north_m"), [(0, 0), (2.5, -3.1), (-3.9, 3.9), (1.0, 0.2)])
def test_a_place_between_windows_is_found_on_any_grid(turn_deg, east_m, north_m):
    truth = move_point(ORIGIN, east_m=east_m, north_m=north_m)
    (place,) = refine(*world(grid(turn_deg=turn_deg), truth))
    assert measure_distance_m(place.latlon, truth) < 0.35
    assert place.latlon != place.footprint.centre or (east_m, north_m) == (0, 0)
    assert measure_distance_m(place.footprint.centre, truth) <= STRIDE_M / math.sqrt(2.0) + 1e-3


@pytest.mark.parametrize("up_bearing_deg", [0.0, 5.0, -3.0])
@pytest.mark.parametrize("heading_deg", [100.0, 96.0, 103.5, 359.5, 0.4])
def test_a_heading_between_turns_is_found_whichever_way_up_points(up_bearing_deg, heading_deg):
    (place,) = refine(
        *world(grid(), ORIGIN, heading_deg=heading_deg, up_bearing_deg=up_bearing_deg)
    )
    off = (place.heading_deg - heading_deg + 180.0) % 360.0 - 180.0
    assert abs(off) < 0.6
    assert 0.0 <= place.heading_deg < 360.0


def test_a_summit_is_as_wide_as_its_score_takes_to_fall():
    width_m = 20.0
    (place,) = refine(*world(grid(), ORIGIN, width_m=width_m, heading_deg=96.0))
    # of 0.9 exp(-x2 / 2 w2), near the summit
    assert place.peak_m == pytest.approx(width_m * math.sqrt(2 * FALL / 0.9), rel=0.1)
    assert place.peak_deg == pytest.approx(30.0 * math.sqrt(2 * FALL / 0.9), rel=0.15)
    assert (place.position_sigma_m, place.heading_sigma_deg) == (None, None)


def test_both_sides_of_longitude_180_are_one_ground():
    origin = LatLon(-16.8, 179.99998)
    truth = move_point(origin, east_m=3.0, north_m=1.0)
    assert truth.lon < 0.0 < origin.lon
    (place,) = refine(*world(grid(origin=origin), truth))
    assert measure_distance_m(place.latlon, truth) < 0.35
    assert place.latlon.lon == float(wrap_lon(place.latlon.lon))


def test_at_a_rim_the_place_stays_where_no_summit_is_determined():
    row = [place for place in grid() if abs(place.lat - ORIGIN.lat) < 1e-6]
    truth = move_point(ORIGIN, east_m=2.0, north_m=0.0)
    index, query, cosines = world(row, truth)
    (place,) = refine(index, query, cosines)
    assert place.latlon == place.footprint.centre
    assert place.peak_m is None
    assert place.heading_deg == pytest.approx(100.0, abs=0.6)  # still between turns


def test_a_gap_beside_the_place_does_not_keep_it_from_its_summit():
    truth = move_point(ORIGIN, east_m=2.0, north_m=1.0)
    places = [p for n, p in enumerate(grid()) if n not in {41, 42, 31}]  # east of the middle
    (place,) = refine(*world(places, truth))
    assert measure_distance_m(place.latlon, truth) < 0.5


def test_windows_that_were_not_searched_take_no_part():
    truth = move_point(ORIGIN, east_m=3.0, north_m=0.0)
    index, query, cosines = world(grid(), truth)
    scores = cosines.max(1)
    scores[index.lon > ORIGIN.lon + 1e-6] = np.nan
    scores[index.lon < ORIGIN.lon - 1e-6] = np.nan
    (place,) = refine(index, query, cosines, scores=scores)
    assert place.latlon == place.footprint.centre


def test_several_zooms_of_one_ground_are_fitted_together():
    truth = move_point(ORIGIN, east_m=2.0, north_m=-1.5)
    fine = grid(13, STRIDE_M / 2)
    (place,) = refine(*world([*grid(), *fine], truth))
    assert measure_distance_m(place.latlon, truth) < 0.35


def test_windows_too_far_apart_to_see_the_same_keep_their_centres():
    truth = move_point(ORIGIN, east_m=2.0, north_m=-1.5)
    index, query, cosines = world(grid(), truth)
    index.manifest.footprint_m = 4.0 * STRIDE_M
    assert refine(index, query, cosines)[0].latlon != index.latlon(40)
    index.manifest.footprint_m = 3.9 * STRIDE_M
    (place,) = refine(index, query, cosines)
    assert place.latlon == place.footprint.centre
    assert place.heading_deg == pytest.approx(100.0, abs=0.6)


@pytest.mark.parametrize("east", [1.2, -1.2])
def test_a_summit_more_than_a_stride_away_moves_nothing(east):
    x, y = (values.ravel() for values in np.meshgrid(np.arange(-2.0, 3.0), np.arange(-2.0, 3.0)))
    summit = find_summit(x, y, -((x - east) ** 2) - y**2)
    np.testing.assert_allclose(summit.offset, [east, 0.0], atol=1e-9)
    index, query, cosines = world(grid(), ORIGIN)
    # The best window is named by others than the network: re-ranking, skylines.
    scores = cosines.max(1)
    scores[42] = 2.0  # two strides from the summit
    (place,) = refine(index, query, cosines, scores=scores)
    assert place.latlon == place.footprint.centre
    assert place.peak_m is None


def test_a_prior_moves_the_summit_as_it_moves_the_scores():
    index, query, cosines = world(grid(), ORIGIN)
    east_m = (index.lon - ORIGIN.lon) * 111195.0 * math.cos(math.radians(ORIGIN.lat))
    weights = 2e-3 * east_m  # a slope: the quadratic's summit moves by slope over bend
    (place,) = refine(index, query, cosines, weights=weights)
    moved = measure_distance_m(place.latlon, ORIGIN)
    assert moved == pytest.approx(2e-3 / (0.9 / 20.0**2), rel=0.15)
    assert place.latlon.lon > ORIGIN.lon


@pytest.mark.parametrize("known_deg", [103.0, 118.0])
def test_a_heading_does_not_leave_the_range_of_a_known_one(known_deg):
    index, query, cosines = world(grid(), ORIGIN, heading_deg=101.0)
    query.heading = KnownHeading(degrees=known_deg, sigma_deg=1.5, source="GPSImgDirection")
    turn = round(known_deg / STEP_DEG)
    tried = np.zeros_like(cosines)
    tried[:, turn] = cosines[:, turn]
    (place,) = refine(index, query, tried)
    coarse = turn * STEP_DEG
    inside = abs(coarse - known_deg) <= query.heading.slack_deg
    assert abs(place.heading_deg - coarse) <= STEP_DEG / 2.0 + 1e-6
    if inside:
        assert abs(place.heading_deg - known_deg) <= query.heading.slack_deg


def test_a_model_without_turns_gets_places_and_no_headings():
    index, query, _ = world(grid(), ORIGIN, bins=1)
    truth = move_point(ORIGIN, east_m=2.0, north_m=1.0)
    away_m = np.array([measure_distance_m(index.latlon(n), truth) for n in range(index.count)])
    scores = (0.9 * np.exp(-0.5 * (away_m / 20.0) ** 2)).astype(np.float32)
    index.vectors[:, 0], index.vectors[:, 1] = scores, np.sqrt(1.0 - scores**2)
    result = SearchResult(0, scores, np.full(index.count, np.nan, np.float32), index)
    ranked = rank_places(index, scores, result.heading_deg, 1)
    (place,) = move(index, query, result, ranked)
    assert measure_distance_m(place.latlon, truth) < 0.35
    assert (place.heading_deg, place.peak_deg) == (None, None)


def test_turns_far_apart_keep_their_heading():
    embedder = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))  # of 45 degrees
    panoramas = spheres(9)
    index = index_of_panoramas(panoramas, embedder)
    first = locate(index, panoramas[4], hints=Hints(), embedder=embedder).places[0]
    assert (first.heading_deg, first.peak_deg) == (0.0, None)


def test_no_places_stay_none():
    index, query, cosines = world(grid(), ORIGIN)
    assert move(index, query, SearchResult(0, cosines.max(1), cosines[:, 0], index), ()) == ()


def test_every_place_of_an_answer_is_refined_as_if_it_were_the_only_one():
    index, query, cosines = world(grid(21), move_point(ORIGIN, east_m=1.5, north_m=2.0))
    several = refine(index, query, cosines, count=4)
    alone = refine(index, query, cosines, count=1)
    assert several[0] == alone[0]
    assert len({place.window for place in several}) == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_the_weighted_least_squares_of_a_slow_loop(seed):
    """Against normal equations summed window by window."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-2.0, 2.0, (2, 15))
    scores = 1.0 - 0.05 * (x - 0.3) ** 2 - 0.08 * (y + 0.2) ** 2 + rng.normal(0.0, 0.01, 15)
    left, right = np.zeros((6, 6)), np.zeros(6)
    for a, b, score in zip(x, y, scores, strict=True):
        row = np.array([1.0, a, b, a * a, a * b, b * b])
        weight = math.exp(-0.5 * (a * a + b * b) / (0.81 / 2.0))
        left += weight * np.outer(row, row)
        right += weight * row * score
    _, p, q, a, b, c = np.linalg.solve(left, right)
    bend = np.array([[2 * a, b], [b, 2 * c]])
    summit = find_summit(x, y, scores)
    if (np.linalg.eigvalsh(bend) < 0.0).all():
        np.testing.assert_allclose(summit.offset, np.linalg.solve(bend, [-p, -q]), rtol=1e-6)
        expected = np.mean([math.sqrt(2 * FALL / -one) for one in np.linalg.eigvalsh(bend)])
        assert summit.width == pytest.approx(expected, rel=1e-6)
    else:
        assert summit is None


def test_a_bowl_or_a_saddle_has_no_summit():
    x, y = (values.ravel() for values in np.meshgrid(np.arange(-1.0, 2.0), np.arange(-1.0, 2.0)))
    assert find_summit(x, y, x**2 + y**2) is None
    assert find_summit(x, y, x**2 - y**2) is None
    assert find_summit(x, y, np.ones(9)) is None
    assert find_turn_summit(np.array([0.5, 0.4, 0.5])) is None
    assert find_turn_summit(np.array([0.5, 0.5, 0.5])) is None


@pytest.mark.parametrize("offset", [-0.4, 0.0, 0.25, 0.5])
def test_the_parabola_of_three_turns_has_its_summit_where_it_was_put(offset):
    summit = find_turn_summit(1.0 - 0.1 * (np.array([-1.0, 0.0, 1.0]) - offset) ** 2)
    assert float(summit.offset) == pytest.approx(offset)
    assert summit.width == pytest.approx(math.sqrt(FALL / 0.1))


def test_a_turn_moves_by_half_a_turn_at_most():
    assert float(find_turn_summit(np.array([0.0, 0.5, 0.9])).offset) == 0.5
