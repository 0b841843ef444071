"""Sky borders are found, skylines are those of a slow look along each ray, and demote places."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from crossview.geo.points import LatLon, move_point
from crossview.index.terrain import HeightPatch
from crossview.localization import skyline
from crossview.localization.hints import Hints
from crossview.localization.queries import make_queries
from crossview.localization.search import SearchResult
from crossview.localization.skyline import (
    check_skyline,
    draw_skylines,
    find_sky_border,
    measure_misfits,
)
from crossview.model import open_model
from crossview.views.spec import ViewSpec
from crossview.worlds.camera import (
    EYE_M,
    FARTHEST_M,
    Shot,
    draw_camera_places,
    render_panorama,
    start_drive,
)
from crossview.worlds.changes import Changes, start_changed_drive
from crossview.worlds.town import CELL_M, build_town

HERE = LatLon(35.06, -39.87)
SPEC = ViewSpec(
    side="ground", height_px=48, width_px=240, elevation_deg=(-27.0, 45.0),
    representation="padded",
)  # fmt: skip


class Plain:
    """Heights that a function of metres east and north gives, in cells of a metre."""

    def __init__(self, height_m, ground_m=lambda east, north: 0.0 * east):
        self.height_m, self.ground_m = height_m, ground_m

    def cut(self, place, reach_m):
        east, north = measure(place)
        half = math.ceil(reach_m) + 1
        line = np.arange(-half, half) + 0.5
        x, y = np.meshgrid(east + line, north - line)
        ground = np.asarray(self.ground_m(x, y), np.float32)
        surface = ground + np.asarray(self.height_m(x, y), np.float32)
        return HeightPatch(surface, ground, (float(half), float(half)), (1.0, 1.0))


def measure(place):
    from crossview.geo.points import project_to_local_m

    return (float(x) for x in project_to_local_m(HERE, place.lat, place.lon))


def wall(east, north):
    """A wall 10 m high, 20 m to the east, from 15 m south to 15 m north."""
    return 10.0 * ((np.abs(east - 22.0) < 2.0) & (np.abs(north) < 15.0))


def test_a_wall_stands_as_high_as_trigonometry_says():
    drawn = draw_skylines(Plain(wall), HERE, np.zeros((1, 2)))[0]
    east = drawn[44:46]  # azimuths 89 and 91
    assert east == pytest.approx(math.degrees(math.atan((10.0 - EYE_M) / 20.0)), abs=2.0)
    assert drawn[135] < 0.0  # the ground, far away


def test_a_skyline_is_the_steepest_line_of_sight_along_each_ray():
    rng = np.random.default_rng(1)
    blocks = rng.uniform(0.0, 15.0, (60, 60)) * (rng.random((60, 60)) < 0.2)

    def height(east, north):
        return blocks[((north + 300.0) // 10).astype(int), ((east + 300.0) // 10).astype(int)]

    drawn = draw_skylines(Plain(height), HERE, np.array([[3.0, -2.0]]))[0]
    for azimuth in range(1, 360, 30):
        steepest = max(
            (height(np.array(3.0 + math.sin(math.radians(azimuth)) * d),
                    np.array(-2.0 + math.cos(math.radians(azimuth)) * d)) - EYE_M) / d
            for d in skyline._DISTANCES_M.tolist()
        )  # fmt: skip
        assert drawn[azimuth // 2] == pytest.approx(math.degrees(math.atan(steepest)), abs=0.8)


def test_a_slope_hides_what_lies_below_it():
    uphill = draw_skylines(
        Plain(lambda e, n: 0.0 * e, ground_m=lambda e, n: 0.1 * n), HERE, np.zeros((1, 2))
    )[0]
    assert uphill[0] == pytest.approx(math.degrees(math.atan(0.1 - EYE_M / FARTHEST_M)), abs=0.3)
    assert uphill[90] < 0.0


def test_where_heights_are_unknown_nothing_is_said():
    drawn = draw_skylines(
        Plain(lambda e, n: np.where(e > 20.0, np.nan, 0.0)), HERE, np.zeros((1, 2))
    )[0]
    assert np.isnan(drawn[45])
    assert np.isfinite(drawn[135])


@pytest.fixture(scope="module")
def town():
    return build_town("suburb", 20_003, 320.0)


def render(town, changes=None, count=3, look=0):
    drive = start_drive(town) if changes is None else start_changed_drive(town, changes)
    for n, (east, south) in enumerate(draw_camera_places(town, count, "skyline")):
        shot = Shot(float(east), float(south), 0.0, width_px=480, height_px=240, look=look + n)
        yield shot, render_panorama(drive, shot)


def strip_of(picture):
    from crossview.views.ground import make_ground_view

    return make_ground_view(picture, "panorama", SPEC, fov_deg=360.0)


def of_town(town):
    """The heights of a town whose middle is HERE."""
    surface = np.maximum(town.height_m, town.crown_top_m)
    half = surface.shape[0] * CELL_M / 2.0

    def height(east, north):
        row = np.clip(((half - north) / CELL_M).astype(int), 0, len(surface) - 1)
        column = np.clip(((half + east) / CELL_M).astype(int), 0, len(surface) - 1)
        return surface[row, column]

    return Plain(height), half


def test_the_sky_of_a_street_ends_where_its_houses_and_trees_begin(town):
    heights, half = of_town(town)
    for shot, picture in render(town):
        border = find_sky_border(strip_of(picture), SPEC)
        place = move_point(HERE, east_m=shot.east_m - half, north_m=half - shot.south_m)
        drawn = np.repeat(draw_skylines(heights, place, np.zeros((1, 2)))[0], 4)
        there = np.roll(drawn.reshape(-1, 3).max(axis=1), 120)  # its middle looks north
        assert np.median(np.abs(border.elevation_deg - there)) < 1.6


def test_a_night_has_no_skyline(town):
    for _, picture in render(town, Changes(night=True)):
        assert find_sky_border(strip_of(picture), SPEC) is None


def test_the_right_place_fits_best(town):
    heights, half = of_town(town)
    spots = list(render(town, count=4))
    places = [move_point(HERE, east_m=s.east_m - half, north_m=half - s.south_m) for s, _ in spots]
    index = SimpleNamespace(
        lat=np.array([p.lat for p in places]), lon=np.array([p.lon for p in places]),
        manifest=SimpleNamespace(stride_m=8.0),
    )  # fmt: skip
    azimuth = np.broadcast_to((np.arange(240) + 0.5 - 120.0) * 1.5, (len(places), 240))
    for n, (_, picture) in enumerate(spots):
        border = find_sky_border(strip_of(picture), SPEC)
        misfits = measure_misfits(heights, index, np.arange(len(places)), border, azimuth)
        assert int(np.argmin(misfits)) == n
        assert misfits[n] < 2.5


def test_a_wrong_first_place_is_demoted(town, monkeypatch):
    """Of four windows the right one has the lowest score; its skyline puts it first."""
    heights, half = of_town(town)
    spots = list(render(town, count=4))
    embedder = open_model("town", threads=1)
    places = [move_point(HERE, east_m=s.east_m - half, north_m=half - s.south_m) for s, _ in spots]
    index = SimpleNamespace(
        lat=np.array([p.lat for p in places]), lon=np.array([p.lon for p in places]),
        up_bearing_deg=np.zeros(4), manifest=SimpleNamespace(stride_m=8.0, heights=None),
        path=Path("none"),
    )  # fmt: skip
    query = next(make_queries([spots[2][1]], [Hints(fov_deg=360.0)], embedder))
    scores = np.array([0.70, 0.68, 0.66, 0.69], np.float32)
    result = SearchResult(0, scores, np.zeros(4, np.float32), index)
    assert check_skyline(index, embedder, query, result) is result  # it has no heights
    monkeypatch.setattr(skyline, "open_terrain", lambda index: heights)
    checked = check_skyline(index, embedder, query, result)
    assert int(np.argmax(checked.scores)) == 2
    assert (checked.scores <= scores + 1e-6).all()
    blank = replace(query, strips=tuple(np.zeros_like(s) for s in query.strips))
    assert check_skyline(index, embedder, blank, result) is result  # nothing is seen
