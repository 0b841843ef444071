"""Paths: how belief moves over the ground, what a walk gives, and what cannot be one."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import IFD, Base
from tests.localization.fake_index import index_of_panoramas, spheres, toy, turned

from crossview.errors import BadData, BadImage, InvalidValue
from crossview.geo.points import measure_distance_m, move_point
from crossview.localization import track as tracks
from crossview.localization.hints import Hints
from crossview.localization.track import (
    OdometryStep,
    TrackOptions,
    add_truths,
    find_truths,
    list_looks,
    locate_track,
    read_odometry,
)
from crossview.street.own_photos import read_tracks

EMBEDDER = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))
SIDE, STRIDE_M = 6, 10.0
PANORAMAS = spheres(SIDE * SIDE)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER, stride_m=STRIDE_M)
ELSEWHERE = spheres(8, seed=99)
WALK = [0, 1, 2, 3, 9, 15, 21, 27]  # east along the southern edge, then north
START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


def follow(pictures, seconds=None, **options):
    seconds = [5.0 * n for n in range(len(pictures))] if seconds is None else seconds
    return locate_track(INDEX, EMBEDDER, pictures, TrackOptions(seconds=tuple(seconds), **options))


def errors_m(track, windows):
    return [
        measure_distance_m(point.latlon, INDEX.latlon(row))
        for point, row in zip(track.points, windows, strict=True)
    ]


# The model.


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), reach_m=st.sampled_from([3.0, 8.0, 20.0, 33.0]))
def test_belief_spreads_as_a_slow_loop_spreads_it(seed, reach_m):
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(-70, 70, (40, 2)), axis=0)
    east, north = (8.0 * cells.T).astype(float)
    ground = tracks._Ground(east, north, 8.0)
    mass = rng.random((len(cells), 2)) * (rng.random((len(cells), 1)) < 0.5)
    half = math.ceil(reach_m / 8.0)
    offsets = [(x, y) for x in range(-half, half + 1) for y in range(-half, half + 1)]
    reach = max(reach_m / 8.0, 0.75)  # less would never leave a cell
    part = {o: min(max(reach + 0.5 - math.hypot(*o), 0.0), 1.0) for o in offsets}
    whole = sum(part.values())
    slow = [
        sum(
            mass[j] * part.get((int(x - cells[j][0]), int(y - cells[j][1])), 0.0) / whole
            for j in range(len(cells))
        )
        for x, y in cells
    ]
    spread = ground.carry(mass.astype(np.float32), tracks._make_disk(reach_m / 8.0))
    assert spread == pytest.approx(np.array(slow), abs=1e-6)


def slow_matrix(step, bins):
    """The chance of every state, and of lost, after every other, by loops."""
    kernel, half = step.kernel, len(step.kernel) // 2
    turns = np.full(bins, 1.0 / bins) if step.turns is None else step.turns
    states = SIDE * SIDE * bins
    matrix = np.zeros((states + 1, states + 1))
    for a, b in itertools.product(range(SIDE * SIDE), repeat=2):
        y, x = b // SIDE - a // SIDE, b % SIDE - a % SIDE
        if max(abs(x), abs(y)) <= half:
            for h, k in itertools.product(range(bins), repeat=2):
                way = kernel[half + y, half + x] * turns[(k - h) % bins]
                matrix[a * bins + h, b * bins + k] = 0.99 * way
    matrix[:-1, -1] = 1.0 - matrix[:-1, :-1].sum(axis=1)
    matrix[-1, :-1], matrix[-1, -1] = 0.1 / states, 0.9
    return matrix


@pytest.mark.parametrize("side", [5, 6])
def test_every_window_of_a_grid_has_a_cell_of_its_own(side):
    """Also where the middle of the region lies between two windows."""
    off = 8.0 * (np.arange(side) - (side - 1) / 2.0) + np.random.default_rng(0).normal(0, 0.3, side)
    ground = tracks._Ground(np.tile(off, side), np.repeat(off, side), 8.0)
    assert (ground.crowd == 1.0).all()


def test_filter_and_smoother_are_those_of_the_whole_matrix_of_states():
    """Every state against every other: windows times turns, and lost."""
    pictures = [turned(PANORAMAS[0], 45.0), ELSEWHERE[0], turned(PANORAMAS[7], 90.0)]
    odometry = (OdometryStep(10.0, 2.0, 30.0), OdometryStep(14.0, 2.0, None))
    options = TrackOptions(temperature=0.3, odometry=odometry, foreign_share=0.3)
    looks = list_looks(pictures, replace(options, seconds=(0.0, 5.0, 10.0)))
    sightings = tracks._see(INDEX, EMBEDDER, looks, options, None, lambda *_: None)
    model = tracks._Model(INDEX, EMBEDDER, sightings, options)
    steps = list(tracks._plan_steps(looks, options, model))
    bins, states = model.bins, INDEX.count * model.bins

    weights = [np.append(model.weigh(s.query)[0].ravel().astype(float), 1.0) for s in sightings]
    first = np.append(np.full(states, 0.9 / states), 0.1)
    matrices = [slow_matrix(step, bins) for step in steps]
    forward = [first * weights[0]]
    for matrix, weight in zip(matrices, weights[1:], strict=True):
        forward.append((forward[-1] @ matrix) * weight)
    backward = [np.ones(states + 1)]
    for matrix, weight in zip(matrices[::-1], weights[:0:-1], strict=True):
        backward.insert(0, matrix @ (weight * backward[0]))
    slow = [a * b / (a @ b) for a, b in zip(forward, backward, strict=True)]

    belief, lost = np.full((INDEX.count, bins), 0.9 / states, np.float32), 0.1
    kept = []
    for n, sighting in enumerate(sightings):
        if n:
            belief, lost = model.move(kept[-1], steps[n - 1])
        kept.append(model.keep(belief * model.weigh(sighting.query)[0], lost))
    for found, expected in zip(tracks._smooth(model, kept, steps), slow, strict=True):
        full = np.zeros((INDEX.count, bins))
        full[found.rows] = found.mass
        assert full.ravel() == pytest.approx(expected[:-1], rel=2e-3, abs=1e-6)
        assert found.lost == pytest.approx(expected[-1], rel=2e-3)


def test_times_of_photos_are_good_to_a_second_and_those_of_frames_exact():
    def reach(clock_s):
        looks = [
            tracks.Look(name="", picture=PANORAMAS[0], elapsed_s=at, time=None, clock_s=clock_s)
            for at in (0.0, 1.0)
        ]
        options = TrackOptions(temperature=0.3)
        sightings = tracks._see(INDEX, EMBEDDER, looks, options, None, lambda *_: None)
        model = tracks._Model(INDEX, EMBEDDER, sightings, options)
        (step,) = tracks._plan_steps(looks, TrackOptions(most_speed_m_s=40.0), model)
        return len(step.kernel) // 2 * STRIDE_M

    assert [reach(1.0), reach(0.0)] == [80.0, 40.0]


def test_long_steps_are_taken_on_a_coarser_grid():
    looks = list_looks(list(PANORAMAS[:2]), TrackOptions(seconds=(0.0, 500.0)))
    model = tracks._Model(
        INDEX,
        EMBEDDER,
        tracks._see(INDEX, EMBEDDER, looks, TrackOptions(), None, lambda *_: None),
        TrackOptions(),
    )
    (step,) = tracks._plan_steps(looks, TrackOptions(), model)
    assert step.coarse == math.ceil(3.0 * 501.0 / STRIDE_M / 24.0)
    one = tracks._Kept(np.array([14]), np.full((1, model.bins), 1.0 / model.bins, np.float32), 0.0)
    moved, lost = model.move(one, step)
    assert moved.sum() + lost == pytest.approx(1.0, abs=1e-5)
    assert moved.max() < 2.0 * moved.min()  # all of the region is in reach


# Walks.


def test_a_walk_is_found_with_its_directions():
    pictures = [turned(PANORAMAS[row], 90.0) for row in WALK]
    track = follow(pictures)
    assert max(errors_m(track, WALK)) < STRIDE_M / 2.0
    assert [point.heading_deg for point in track.points] == pytest.approx([90.0] * 8, abs=15.0)
    assert not any(point.lost for point in track.points)
    assert min(point.fits for point in track.points) > 0.9
    assert [point.elapsed_s for point in track.points] == [5.0 * n for n in range(8)]
    assert all(Image.open(io.BytesIO(p.picture)).size for p in track.points)


def test_sigmas_hold_two_thirds_of_what_is_believed_and_shrink_with_pictures():
    first = follow([PANORAMAS[0]], temperature=0.5)
    more = follow([PANORAMAS[row] for row in WALK], temperature=0.5)
    assert more.points[-1].position_sigma_m < first.points[0].position_sigma_m
    sure = follow([PANORAMAS[0]]).points[0]
    assert sure.position_sigma_m == pytest.approx(STRIDE_M / math.sqrt(6.0), rel=0.1)
    assert sure.heading_sigma_deg == pytest.approx(45.0 / math.sqrt(12.0), rel=0.3)


def test_a_foreign_picture_does_no_harm_and_is_told():
    pictures = [PANORAMAS[row] for row in WALK]
    pictures[4] = PANORAMAS[35]  # of a far corner
    track = follow(pictures)
    assert max(errors_m(track, WALK)) <= 1.5 * STRIDE_M
    assert track.points[4].fits < 0.1
    assert not track.points[4].lost


def test_a_camera_that_leaves_the_region_is_lost_and_found_again():
    windows = [0, 1, 2, *[2] * 8, 30, 31, 32]
    pictures = [PANORAMAS[row] for row in windows]
    pictures[3:11] = ELSEWHERE
    track = follow(pictures, foreign_share=0.02)
    lost = [point.lost for point in track.points]
    assert not any(lost[:2])
    assert not any(lost[-3:])
    assert any(lost[3:11])
    assert max(errors_m(track, windows)[-3:]) < STRIDE_M / 2.0


def test_what_came_later_counts_unless_only_the_past_is_asked_for():
    pictures = [PANORAMAS[row] for row in WALK]
    past, whole = (
        follow(pictures, past_only=True, temperature=0.5),
        follow(pictures, temperature=0.5),
    )
    assert past.points[0].position_sigma_m > whole.points[0].position_sigma_m
    assert past.points[-1].latlon == whole.points[-1].latlon
    assert any("up to it alone" in text for text in past.assumptions)


def test_odometry_replaces_the_speed():
    """Two places look alike; only the length of the way tells them apart."""
    panoramas = PANORAMAS.copy()
    panoramas[1] = panoramas[5]
    index = index_of_panoramas(panoramas, EMBEDDER, stride_m=STRIDE_M)
    pictures = [panoramas[0], panoramas[5]]
    for metres, row in ((10.0, 1), (50.0, 5)):
        options = TrackOptions(odometry=(OdometryStep(metres, 2.0, 0.0),), seconds=(0.0, 1.0))
        track = locate_track(index, EMBEDDER, pictures, options)
        assert measure_distance_m(track.points[1].latlon, index.latlon(row)) < STRIDE_M


def test_windows_that_hints_exclude_hold_no_camera():
    hints = Hints(near=INDEX.latlon(0), within_m=25.0)
    track = follow([PANORAMAS[35], PANORAMAS[35]], hints=hints)
    for point in track.points:
        assert measure_distance_m(point.latlon, INDEX.latlon(0)) <= 25.0


# The order of photos.


def photo(path, seconds=None, zone=None, row=0):
    exif = Image.Exif()
    if seconds is not None:
        details = exif.get_ifd(IFD.Exif)
        taken = START + timedelta(seconds=seconds)
        details[Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        if zone is not None:
            details[Base.OffsetTimeOriginal] = zone
    Image.fromarray(PANORAMAS[row]).save(path, exif=exif, quality=95)
    return path


def test_photos_are_taken_in_the_order_of_their_times(tmp_path):
    files = [photo(tmp_path / f"{n}.jpg", 30 - 10 * n, "+00:00", WALK[3 - n]) for n in range(4)]
    track = locate_track(INDEX, EMBEDDER, files)
    assert [point.photo for point in track.points] == [str(file) for file in files[::-1]]
    assert track.points[0].time == START
    assert max(errors_m(track, WALK[:4])) < STRIDE_M / 2.0


def test_a_clock_without_a_zone_is_kept_as_it_is_or_as_the_zone_says(tmp_path):
    file = photo(tmp_path / "a.jpg", 0)
    (look,) = list_looks([file], TrackOptions())
    assert look.time == START.replace(tzinfo=None)
    (look,) = list_looks([file], TrackOptions(zone=timezone(timedelta(hours=2))))
    assert look.time == START - timedelta(hours=2)
    both = [file, photo(tmp_path / "b.jpg", 5, "+01:00")]
    with pytest.raises(InvalidValue, match="--time-zone"):
        list_looks(both, TrackOptions())


def test_photos_without_times_are_ordered_by_name_on_request(tmp_path):
    files = [photo(tmp_path / f"{n}.jpg", row=n) for n in (10, 9, 1)]
    with pytest.raises(InvalidValue, match=r"3 of 3 photos tell no time(.|\n)*--order name"):
        locate_track(INDEX, EMBEDDER, files)
    looks = list_looks(files, TrackOptions(order="name"))
    assert [look.name for look in looks] == [str(file) for file in files[::-1]]
    assert {look.elapsed_s for look in looks} == {None}
    left = []
    some = [*files, photo(tmp_path / "timed.jpg", 0)]
    assert len(list_looks(some, TrackOptions(), left.append)) == 1
    assert len(left) == 3


def test_times_that_run_back_are_refused(tmp_path):
    files = [photo(tmp_path / "a.jpg", 60), photo(tmp_path / "b.jpg", 0)]
    with pytest.raises(InvalidValue, match=r"run back: .*b\.jpg comes after .*60 s"):
        list_looks(files, TrackOptions(order="name"))
    assert len(list_looks(files, TrackOptions(order="name", ignore_times=True))) == 2
    with pytest.raises(InvalidValue, match="run back"):
        TrackOptions(seconds=(0.0, 5.0, 4.0))


def test_a_photo_that_cannot_be_read_is_told_or_raised(tmp_path):
    files = [photo(tmp_path / "a.jpg", 0, row=0), photo(tmp_path / "b.jpg", 5, row=1)]
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    told = []
    track = locate_track(INDEX, EMBEDDER, [*files, tmp_path / "c.jpg"], failed=told.append)
    assert len(track.points) == 2
    assert isinstance(told[0], BadImage)
    with pytest.raises(BadImage):
        locate_track(INDEX, EMBEDDER, [*files, tmp_path / "c.jpg"])


@pytest.mark.parametrize(
    "options",
    [
        {"most_speed_m_s": 0.0}, {"most_step_m": math.inf}, {"foreign_share": 1.0},
        {"turn_sigma_deg": -1.0}, {"temperature": 0.0}, {"order": "size"},
    ],
)  # fmt: skip
def test_options_are_checked(options):
    with pytest.raises(InvalidValue):
        TrackOptions(**options)


# Odometry and truth.


def test_odometry_is_read_with_its_usual_errors(tmp_path):
    (tmp_path / "o.csv").write_text("metres,turn_deg,metres_sigma\n10,,\n20,-90,0.5\n")
    assert read_odometry(tmp_path / "o.csv") == (
        OdometryStep(10.0, 2.0, None, 5.0),
        OdometryStep(20.0, 0.5, -90.0, 5.0),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn_deg\n1\n", "metres"),
        ("metres\n-1\n", "line 2"),
        ("metres\nnan\n", "line 2"),
        ("metres,speed\n1,2\n", "speed"),
        ("metres,turn_deg\n,5\n", "metres is empty"),
    ],
)
def test_odometry_that_cannot_be_used_names_the_line(tmp_path, text, message):
    (tmp_path / "o.csv").write_text(text)
    with pytest.raises(BadData, match=message):
        read_odometry(tmp_path / "o.csv")


def test_odometry_has_a_step_for_each_pair_of_pictures():
    with pytest.raises(InvalidValue, match="3 steps, and 3 pictures have 2 between them"):
        follow(list(PANORAMAS[:3]), odometry=(OdometryStep(1.0, 1.0),) * 3)


def recorded(path, start=START):
    points = [(START + timedelta(seconds=10 * n), 10.0 * n) for n in range(3)]
    marks = ""
    for time, east in points:
        place = move_point(INDEX.latlon(0), east_m=east, north_m=0.0)
        marks += f'<trkpt lat="{place.lat}" lon="{place.lon}"><time>{time:%FT%TZ}</time></trkpt>'
    path.write_text(f"<gpx><trk><trkseg>{marks}</trkseg></trk></gpx>")
    return read_tracks([path])


def test_a_recorded_track_gives_metres_between_its_points(tmp_path):
    files = [photo(tmp_path / f"{n}.jpg", 5 * n, "+00:00", WALK[0]) for n in range(2)]
    track = locate_track(INDEX, EMBEDDER, files)
    compared = add_truths(track, find_truths(track, recorded(tmp_path / "a.gpx")))
    assert compared.errors_m == pytest.approx([0.0, 5.0], abs=0.5)
    late = replace(track, points=tuple(replace(p, time=START + timedelta(1)) for p in track.points))
    with pytest.raises(InvalidValue, match="has no points from"):
        find_truths(late, recorded(tmp_path / "a.gpx"))
    naive = replace(
        track, points=tuple(replace(p, time=datetime(2024, 5, 1)) for p in track.points)
    )
    with pytest.raises(InvalidValue, match="--time-zone"):
        find_truths(naive, recorded(tmp_path / "a.gpx"))
    unknown = replace(track, points=tuple(replace(p, time=None) for p in track.points))
    with pytest.raises(InvalidValue, match="--start"):
        find_truths(unknown, recorded(tmp_path / "a.gpx"))
