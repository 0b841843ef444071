"""The benchmark of renders: clouds laid onto their pictures, cameras on roads, true headings."""

import math

import numpy as np
import pytest

from benchmarks import clouds
from crossview.geo.points import LatLon, measure_distance_m

HELSINKI = (60.24, 24.9)


def blocks(seed, side):
    """A picture [side, side, 3] of smooth spots in several colours."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (side // 10 + 2, side // 10 + 2, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def turned(picture, by_deg):
    """Clockwise about its middle."""
    import cv2

    side = picture.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), -by_deg, 1.0)
    return cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(("east", "south"), [(0, 0), (14, -9), (-30, 40)])
@pytest.mark.parametrize("turn", [0.0, 1.75])
def test_a_cloud_is_laid_where_its_picture_shows_the_same(east, south, turn):
    """In cells of half a metre; the picture is darker and noisier than the cloud."""
    scene = blocks(1, 500)
    above = turned(np.roll(scene, (-south, -east), axis=(0, 1)), -turn)[150:350, 150:350]
    noise = np.random.default_rng(2).normal(0.0, 12.0, scene.shape)
    picture = np.clip(0.6 * scene + noise, 0, 255).astype(np.uint8)
    found = clouds.align(above, picture, turn)
    assert found.east_m == pytest.approx(0.5 * east, abs=0.51)
    assert found.north_m == pytest.approx(-0.5 * south, abs=0.51)
    assert found.is_sure


def test_a_cloud_of_another_place_is_not_sure_of_its_own():
    assert not clouds.align(blocks(3, 200), blocks(4, 500)).is_sure


def test_a_cloud_that_looks_the_same_along_a_road_is_not_sure_of_its_place():
    stripes = np.zeros((500, 500, 3), np.uint8)
    stripes[:, 240:262] = 200
    assert not clouds.align(stripes[150:350, 150:350], stripes).is_sure


@pytest.fixture(scope="module")
def cloud():
    """Level grey ground of 100 m, a red wall 12 m high 20 m north of the middle, a green field."""
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(0, 100, (120_000, 2)), np.zeros(120_000)])
    wall = np.column_stack(
        [rng.uniform(30, 70, 12_000), np.full(12_000, 30.0), rng.uniform(0, 12, 12_000)]
    )
    colours = np.full((132_000, 3), 120)
    colours[:120_000][ground[:, 0] < 40.0] = (40, 120, 40)
    colours[120_000:] = (220, 30, 30)
    xyz = np.concatenate([ground, wall]).astype(np.float32)
    return clouds.make_cloud(xyz, colours.astype(np.uint8))


def test_cameras_stand_on_open_ground_that_is_not_green_away_from_walls_and_edges(cloud):
    cameras = clouds.draw_cameras(cloud, 40, np.random.default_rng(1))
    assert len(cameras) == 40
    east, south, eye, _ = cameras.T
    assert east.min() >= 40.0
    assert min(east.min(), south.min(), 100 - east.max(), 100 - south.max()) >= clouds.EDGE_M - 0.5
    assert (np.abs(south - 30.0)[east < 72.0] >= clouds.CLEARANCE_M - 0.5).all()
    assert ((eye >= 1.6) & (eye <= 2.9)).all()
    apart = np.hypot(east[:, None] - east, south[:, None] - south)[~np.eye(40, dtype=bool)]
    assert apart.min() > clouds.APART_M


@pytest.mark.parametrize(("heading", "column"), [(0.0, 512), (90.0, 256), (-45.0, 640)])
def test_a_render_shows_the_wall_where_it_is_and_sky_above(cloud, heading, column):
    camera = np.array([50.0, 50.0, 2.0, heading])
    picture = clouds.render(cloud, camera, np.random.default_rng(3)).astype(int)
    assert picture.shape == (512, 1024, 3)
    red = picture[..., 0] - picture[..., 1:].max(axis=2) > 60
    top = 256 - math.degrees(math.atan2(10.0, 20.0)) / 180.0 * 512
    foot = 256 + math.degrees(math.atan2(2.0, 20.0)) / 180.0 * 512
    seen = np.flatnonzero(red[:, column])
    assert (seen.min(), seen.max()) == (pytest.approx(top, abs=4), pytest.approx(foot, abs=4))
    assert red[int(top) + 4 : int(foot) - 4, column].all()  # nothing shines through
    across = np.flatnonzero(np.roll(red[230], 512 - column))
    assert across.min() == pytest.approx(512 - 128, abs=4)  # 45 degrees to either side
    assert across.max() == pytest.approx(512 + 128, abs=4)
    sky, road = picture[:100].mean(axis=(0, 1)), picture[400:].mean(axis=(0, 1))
    assert sky[2] >= sky[0]
    assert abs(road[0] - road[1]) < 60
    assert sky.mean() > road.mean()


@pytest.mark.parametrize("turn", [0.0, 1.74])
def test_a_camera_is_located_by_the_cloud_s_place_and_turn(turn):
    laid = clouds.Alignment(east_m=3.0, north_m=-4.0, turn_deg=turn, match=2.0, lead=1.0)
    centre = clouds.locate_camera(np.array([50.0, 50.0, 2.0, 30.0]), laid, HELSINKI)
    assert measure_distance_m(LatLon(*HELSINKI), LatLon(*centre[:2])) == pytest.approx(
        5.0, abs=0.02
    )
    north = clouds.locate_camera(np.array([50.0, 20.0, 2.0, 0.0]), laid, HELSINKI)
    here, there = LatLon(*centre[:2]), LatLon(*north[:2])
    assert measure_distance_m(here, there) == pytest.approx(30.0, abs=0.1)
    bearing = math.degrees(
        math.atan2(
            math.radians(there.lon - here.lon) * math.cos(math.radians(here.lat)),
            math.radians(there.lat - here.lat),
        )
    )
    assert (north[2] - bearing + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=0.05)
    assert (centre[2] - north[2]) % 360.0 == pytest.approx(30.0, abs=0.01)


def test_the_grids_of_the_city_and_of_the_country_are_turned_against_each_other():
    """West of its middle meridian a grid's north lies west of true north, by sin(lat) a degree."""
    for crs, middle in ((clouds.CRS, 27.0), (clouds.CLOUD_CRS, 25.0)):
        expected = (HELSINKI[1] - middle) * math.sin(math.radians(HELSINKI[0]))
        assert clouds.find_north(crs, *HELSINKI) == pytest.approx(expected, abs=0.01)
